/*
 * sclera.h: the C interface of Sclera, a memory-safe Web Gateway for InterSystems IRIS.
 *
 * Generated from src/ffi by `make header`; do not edit. Licence: MIT OR Apache-2.0.
 *
 * THE CONTRACT
 *
 * Life. Open a gateway before the fork (sclera_gateway_open): it reads CSP.ini and has no thread and no socket. Start a
 * worker in each process after the fork (sclera_worker_start), as the user that the process stays, and stop it at exit
 * (sclera_worker_stop). A worker has one thread of its own. The library must stay mapped while a worker runs; it is
 * linked so that unloading it has no effect.
 *
 * Ownership. A function that takes a pointer to a pointer (`out`) makes an object; the caller frees it once, with the
 * function its comment names. Everything else that is returned is borrowed, valid as long as its comment says. What a
 * caller passes in is copied, unless a comment says otherwise, and may be freed when the function has returned.
 *
 * Threads. Gateways and workers may be used by any thread at any time, except while they are freed. Exchanges,
 * connections and conversations belong to one thread at a time. Answers and trials may be read by any.
 *
 * Results. SCLERA_OK is 0. On any other result nothing was made and `out` was not written; sclera_last_error holds the
 * reason for this thread. No function ends the process: a fault of Sclera is caught and becomes SCLERA_PANIC, 0, NULL,
 * false or SCLERA_STEP_ABORT; nothing but freeing the object is then allowed.
 *
 * Pointers. NULL is refused with SCLERA_INVALID_ARGUMENT where an object is needed, and ignored by functions that free.
 * Strings (const char *) end with NUL and are UTF-8; slices need neither.
 *
 * Growth. Structs that begin with `size` may grow at their end: set it to sizeof the struct before passing it, also for
 * structs that are filled. A library takes the smaller structs of older hosts, and the larger ones of newer
 * hosts. SCLERA_ABI changes when anything else changes; compare it with sclera_abi() after loading.
 *
 * Secrets. No log line, error text, failure message or page holds a password or a key.
 *
 * One request with an event loop:
 *
 *     sclera_exchange_begin(worker, &request, &exchange);
 *     for (;;) switch (sclera_exchange_drive(exchange)) {
 *       case SCLERA_STEP_NEED_BODY: give request body, or return until there is some, then drive again
 *       case SCLERA_STEP_HEAD:      send the response head
 *       case SCLERA_STEP_BODY:      send what sclera_exchange_body gives, consume what was sent
 *       case SCLERA_STEP_WAIT:      watch what sclera_exchange_wants names; return; drive when it comes
 *       case SCLERA_STEP_DONE:      end the response;   sclera_exchange_free(exchange)
 *       case SCLERA_STEP_ABORT:     break the response; sclera_exchange_free(exchange)
 *     }
 *
 * A host with threads passes no userdata and calls sclera_exchange_wait where it would return.
 */

#ifndef SCLERA_H
#define SCLERA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The ABI number of this library; a host compares it with the `SCLERA_ABI` that it was compiled with.
#define SCLERA_ABI 1

// Results of functions. 0 is success.
typedef enum sclera_result {
    SCLERA_OK = 0,
    // A pointer is NULL that must not be, a string is not UTF-8, or a struct's `size` is smaller than the first release's.
    SCLERA_INVALID_ARGUMENT = 1,
    // CSP.ini or a file that it names is wrong; each finding went to the log function.
    SCLERA_CONFIGURATION = 2,
    // No connection could be had, or the method that was called ended with an error; sclera_last_error says how.
    SCLERA_FAILED = 3,
    // The operating system refused something; sclera_last_error says what.
    SCLERA_SYSTEM = 4,
    // The function has no meaning in this state.
    SCLERA_WRONG_STATE = 5,
    // A fault in Sclera was caught. Free the object.
    SCLERA_PANIC = 6,
    // The connection has broken, or is in doubt: it can only be given back. sclera_last_error says how it came.
    SCLERA_BROKEN = 7,
} sclera_result;

// How much a log line matters.
typedef enum sclera_level {
    SCLERA_LEVEL_ERROR = 0,
    SCLERA_LEVEL_WARNING = 1,
    SCLERA_LEVEL_NOTICE = 2,
    SCLERA_LEVEL_INFO = 3,
    SCLERA_LEVEL_DEBUG = 4,
} sclera_level;

// What the host is to do next.
typedef enum sclera_step {
    // Wait for what sclera_exchange_wants names, or until the worker lists the exchange; then drive again.
    SCLERA_STEP_WAIT = 0,
    // Give request body with sclera_exchange_give_body, then drive again.
    SCLERA_STEP_NEED_BODY = 1,
    // The response head is complete: sclera_exchange_response. Comes once, also for the page of a failure.
    SCLERA_STEP_HEAD = 2,
    // Response body is at hand: sclera_exchange_body and sclera_exchange_consume, then drive again.
    SCLERA_STEP_BODY = 3,
    // The response is complete.
    SCLERA_STEP_DONE = 4,
    // The response cannot be completed: cut the browser's connection, so that it sees a broken answer; or, if nothing of
    // the response has left yet, sclera_exchange_retract.
    SCLERA_STEP_ABORT = 5,
} sclera_step;

// What a conversation waits for. Whatever it is, send what sclera_protocol_unsent gives.
typedef enum sclera_protocol_state {
    // Bytes of the superserver: sclera_protocol_receive.
    SCLERA_PROTOCOL_NEEDS_INPUT = 0,
    // Logged in and at rest: sclera_protocol_call may begin a call.
    SCLERA_PROTOCOL_READY = 1,
    // A call has been answered: sclera_protocol_answer.
    SCLERA_PROTOCOL_ANSWERED = 2,
    // It is over: sclera_protocol_failure says why.
    SCLERA_PROTOCOL_FAILED = 3,
} sclera_protocol_state;

// Events of a descriptor, to be joined by `|`.
typedef enum sclera_event {
    SCLERA_READ = 1,
    SCLERA_WRITE = 2,
} sclera_event;

// What kind of value a sclera_value holds.
typedef enum sclera_kind {
    // No value.
    SCLERA_UNDEFINED = 0,
    // `bytes`, as they are.
    SCLERA_BYTES = 1,
    // `integer`.
    SCLERA_INTEGER = 2,
    // `number`.
    SCLERA_DOUBLE = 3,
    // `bytes`, as UTF-8 text.
    SCLERA_TEXT = 4,
} sclera_kind;

// What a class method gave. Any thread may read it.
typedef struct sclera_answer sclera_answer;

// A logged-in connection taken from the pool. One thread at a time.
typedef struct sclera_connection sclera_connection;

// One request being answered. One thread at a time.
typedef struct sclera_exchange sclera_exchange;

// The configuration of a web server's gateway. Opened before the fork: it has no thread and no socket. Any thread may
// use it.
typedef struct sclera_gateway sclera_gateway;

// One conversation. One thread at a time.
typedef struct sclera_protocol sclera_protocol;

// What a trial found. Any thread may read it.
typedef struct sclera_trial sclera_trial;

// One worker process's pools and its caretaker thread. Any thread may use it.
typedef struct sclera_worker sclera_worker;

// Receives one log line, not NUL-terminated and without a line break. Called on the thread of sclera_check, and on any
// thread from sclera_gateway_open to sclera_worker_stop. It must not call Sclera. No line holds a secret.
typedef void (*sclera_log_fn)(void *userdata, enum sclera_level level, const char *text, size_t length);

// The user whose access to files is checked.
typedef struct sclera_user {
    // sizeof(sclera_user).
    size_t size;
    uint32_t uid;
    uint32_t gid;
    // Supplementary groups. May be NULL if `group_count` is 0.
    const uint32_t *groups;
    size_t group_count;
} sclera_user;

// How a gateway is opened.
typedef struct sclera_options {
    // sizeof(sclera_options).
    size_t size;
    // The SCLERA_ABI that the host was compiled with.
    uint32_t abi;
    // CSP.ini, or the directory that holds it. A path that is not there is a directory's, unless it ends in `.ini`. UTF-8.
    const char *config_path;
    // The web server and its version, such as "nginx/1.22.1": what applications see as SERVER_SOFTWARE. May be NULL.
    const char *host_software;
    // Where log lines go. May be NULL.
    sclera_log_fn log;
    // Handed to `log`. Must be usable from any thread, as long as the gateway and its workers live.
    void *log_userdata;
    // Not 0: this is a first start, which makes CSP.ini if there is none. At a reload, one that has gone is an error.
    int32_t first_start;
    // The user that the workers will run as. If this process is root, sclera_gateway_open runs the commands of CSP.ini
    // as that user, and makes the event log for it; unless root alone can write CSP.ini and all that belongs to it, it
    // also reads CSP.ini and opens what is named there as that user. NULL: as this process, or not known.
    const struct sclera_user *workers;
} sclera_options;

// Borrowed bytes, not NUL-terminated. `data` may be NULL if `length` is 0.
typedef struct sclera_slice {
    const uint8_t *data;
    size_t length;
} sclera_slice;

// A name and its value.
typedef struct sclera_pair {
    struct sclera_slice name;
    struct sclera_slice value;
} sclera_pair;

// A request, as the web server has it. Nothing of it is needed after sclera_exchange_begin has returned.
typedef struct sclera_request {
    // sizeof(sclera_request).
    size_t size;
    struct sclera_slice method;
    // Path and query as the browser sent them, not decoded.
    struct sclera_slice target;
    // Such as HTTP/1.1.
    struct sclera_slice protocol;
    // All headers in their order; repeated ones repeated.
    const struct sclera_pair *headers;
    size_t header_count;
    // Bytes of the body: 0 for none, -1 if it is not known beforehand.
    int64_t content_length;
    // The browser's address, as the web server's own trusted-proxy setting resolves it.
    struct sclera_slice remote_address;
    uint16_t remote_port;
    struct sclera_slice server_name;
    uint16_t server_port;
    bool https;
    // Whom the web server authenticated, and how; empty for nobody.
    struct sclera_slice remote_user;
    struct sclera_slice auth_type;
    // The web server's id for the request (letters, digits and -_.:@+/=, at most 64); empty: one is made.
    struct sclera_slice request_id;
    // What sclera_worker_drive lists when the exchange is to be driven. NULL: the host waits with sclera_exchange_wait
    // and the exchange is never listed.
    void *userdata;
    // The password of remote_user, where the application and not the web server checks it; empty anywhere else. It
    // reaches the application as AUTH_PASSWORD and no log.
    struct sclera_slice auth_password;
} sclera_request;

// What an exchange waits for.
typedef struct sclera_wants {
    // sizeof(sclera_wants).
    size_t size;
    // The descriptor to watch, which belongs to Sclera; -1 while only the worker or the time can tell. Watching it
    // edge-triggered is safe: SCLERA_STEP_WAIT comes only after the socket would block.
    int32_t fd;
    // SCLERA_READ, SCLERA_WRITE or both.
    uint32_t events;
    // Another number means another connection, even behind the same `fd`: the old one may be closed already. 0 without
    // a descriptor.
    uint64_t link;
    // Drive again after this time at the latest, in milliseconds; -1: no limit.
    int64_t timeout_ms;
} sclera_wants;

// A response head. The pointers are valid until the response is retracted or the exchange freed.
typedef struct sclera_response {
    // sizeof(sclera_response).
    size_t size;
    // 200 to 599.
    uint16_t status;
    // The application's words for the status; may be empty.
    struct sclera_slice reason;
    // Without Content-Length and without headers that belong to one hop.
    const struct sclera_pair *headers;
    size_t header_count;
    // Bytes of the body; -1 if the application did not say.
    int64_t content_length;
} sclera_response;

// Why an exchange failed.
typedef struct sclera_failure {
    // sizeof(sclera_failure).
    size_t size;
    // The row of the failure table, such as 303.
    uint32_t code;
    // The status that belongs to it.
    uint16_t http_status;
    // One line for the log: code, name, server, what happened, what to do, request id. No secret. Valid until the
    // object that failed is freed. The host logs it, once.
    const char *message;
    // How far things had come, such as "TLS". Static.
    const char *stage;
    // Whose fault it is: "configuration", "network", "superserver", "application", "browser", "load" or "Sclera". Static.
    const char *fault;
    // What to do, in one sentence. Static.
    const char *remedy;
    // Nothing of the request has reached an application: it may be sent again.
    bool repeatable;
} sclera_failure;

// A value. Only the field that `kind` names counts; set the others to 0.
typedef struct sclera_value {
    // One of sclera_kind.
    uint32_t kind;
    // Of an argument: the method may change it, and the answer holds what it became.
    bool by_reference;
    struct sclera_slice bytes;
    int64_t integer;
    double number;
} sclera_value;

// Where a server is, and what its link needs. Fill `size` before it is filled.
typedef struct sclera_target {
    // sizeof(sclera_target).
    size_t size;
    // Name or address to connect to. Valid until the protocol object is freed.
    const char *host;
    // Name that the certificate must be issued to, and for SNI. Valid until the protocol object is freed.
    const char *server_name;
    uint16_t port;
    // Whether the link is TLS. The host must then not speak without.
    bool tls;
    // Changes when the gateway's certificates do: connections made with another one are to be retired.
    uint64_t generation;
} sclera_target;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The ABI number of the library that was loaded. Compare it with SCLERA_ABI before anything else.
uint32_t sclera_abi(void);

// The library's version, such as "0.1.0". Static.
const char *sclera_version(void);

// What the last function on this thread that failed has to say. Never NULL; empty if none has failed. Valid until
// the next call of any Sclera function on this thread.
const char *sclera_last_error(void);

// Checks a configuration without using it, for a web server's `-t`: CSP.ini, and the TLS files of enabled servers as
// `user` can read them (NULL: as this process can; another user takes root). Touches no network and changes no file.
// Every finding goes to the log function. SCLERA_OK also with warnings; SCLERA_CONFIGURATION if there are errors.
enum sclera_result sclera_check(const struct sclera_options *options,
                                const struct sclera_user *user);

// Opens a gateway; free it with sclera_gateway_free. A CSP.ini that is absent or wrong does not fail: the findings
// go to the log function, sclera_gateway_problem tells, and every request is answered with 503 and its code. Fails
// with SCLERA_INVALID_ARGUMENT for bad arguments and for a host of another ABI, and with SCLERA_SYSTEM without memory.
enum sclera_result sclera_gateway_open(const struct sclera_options *options,
                                       struct sclera_gateway **out);

// What is wrong with CSP.ini; NULL if nothing is. Valid as long as the gateway. A web server that reloads keeps its
// old gateway if the new one has a problem.
const char *sclera_gateway_problem(const struct sclera_gateway *gateway);

// Frees a gateway. Workers started from it keep what they need. NULL is fine.
void sclera_gateway_free(struct sclera_gateway *gateway);

// Starts a worker after the fork, as the user the process will stay: it loads the certificates and keys, and starts
// the caretaker thread with all signals blocked. A server whose files cannot be used does not fail the start; its
// requests are answered with 503 and the code. Stop it with sclera_worker_stop.
enum sclera_result sclera_worker_start(const struct sclera_gateway *gateway,
                                       struct sclera_worker **out);

// The wake descriptor: readable (level-triggered) while sclera_worker_drive has exchanges to list. It belongs to the
// worker: watch it, and neither read nor close it. -1 for NULL.
int32_t sclera_worker_wake_fd(const struct sclera_worker *worker);

// Writes the userdata of up to `capacity` exchanges that are to be driven now to `userdata`, and returns how many.
// Ask for one at a time if driving one exchange may free another.
size_t sclera_worker_drive(struct sclera_worker *worker,
                           void **userdata,
                           size_t capacity);

// Ends a worker: joins the caretaker, says goodbye on idle connections and closes them. Every exchange and
// connection of it must have been freed or given back. NULL is fine.
void sclera_worker_stop(struct sclera_worker *worker);

// Takes a request; free the exchange with sclera_exchange_free. A request that cannot be answered, for whatever
// reason, does not fail here: the exchange then gives the page of its failure.
enum sclera_result sclera_exchange_begin(struct sclera_worker *worker,
                                         const struct sclera_request *request,
                                         struct sclera_exchange **out);

// Goes on as far as possible and says what to do next. Never blocks.
enum sclera_step sclera_exchange_drive(struct sclera_exchange *exchange);

// What the exchange waits for, after SCLERA_STEP_WAIT. At any other time `link` tells whether a watched descriptor is
// still open: another number, or 0, and it has been closed already.
enum sclera_result sclera_exchange_wants(const struct sclera_exchange *exchange,
                                         struct sclera_wants *out);

// For hosts with threads: after SCLERA_STEP_WAIT, sleeps until driving makes sense. Only for exchanges whose request
// had no userdata.
enum sclera_result sclera_exchange_wait(struct sclera_exchange *exchange);

// After SCLERA_STEP_NEED_BODY: the most bytes of request body that are taken now, at most 32768.
size_t sclera_exchange_body_wanted(const struct sclera_exchange *exchange);

// Gives request body after SCLERA_STEP_NEED_BODY and returns how many bytes were taken. `last` says that the body
// ends with these bytes; it counts only if all of them were taken. Length 0 with `last` ends the body.
size_t sclera_exchange_give_body(struct sclera_exchange *exchange,
                                 const uint8_t *data,
                                 size_t length,
                                 bool last);

// The browser's request body broke. The exchange fails; a host that cannot answer any more may just free it.
void sclera_exchange_body_failed(struct sclera_exchange *exchange);

// The response head, from SCLERA_STEP_HEAD on.
enum sclera_result sclera_exchange_response(const struct sclera_exchange *exchange,
                                            struct sclera_response *out);

// Response body at hand, after SCLERA_STEP_BODY. Valid until the next drive or free; after a consume ask again.
struct sclera_slice sclera_exchange_body(const struct sclera_exchange *exchange);

// The first `length` bytes of the body at hand have been passed on.
void sclera_exchange_consume(struct sclera_exchange *exchange, size_t length);

// After SCLERA_STEP_ABORT, if nothing of the response has left: takes back what was told of it, so that
// sclera_exchange_drive goes on with the head and body of the failure's page. SCLERA_WRONG_STATE at any other time;
// break the response then.
enum sclera_result sclera_exchange_retract(struct sclera_exchange *exchange);

// Why the exchange failed; false if it did not.
bool sclera_exchange_failure(const struct sclera_exchange *exchange, struct sclera_failure *out);

// The id under which the request stands in log lines and error pages. Valid until the exchange is freed.
struct sclera_slice sclera_exchange_request_id(const struct sclera_exchange *exchange);

// The name of the server that answers, for the host's access log; empty while none has been found. Valid until the
// exchange is driven again or freed.
struct sclera_slice sclera_exchange_server(const struct sclera_exchange *exchange);

// Frees an exchange at any time. Stop watching its descriptor before: at the end of an answer the connection goes
// back to the pool, anywhere else it is closed. NULL is fine.
void sclera_exchange_free(struct sclera_exchange *exchange);

// Takes a connection to the server of this name in CSP.ini out of the pool, or makes one; waits within the server's
// limits. Give it back with sclera_connection_give_back.
enum sclera_result sclera_connection_get(struct sclera_worker *worker,
                                         const char *server,
                                         struct sclera_connection **out);

// Calls a class method and waits for its end; free the answer with sclera_answer_free. SCLERA_FAILED is an error of
// the method, which leaves the connection usable; after SCLERA_BROKEN it can only be given back.
enum sclera_result sclera_connection_call(struct sclera_connection *connection,
                                          const char *class_name,
                                          const char *method,
                                          const struct sclera_value *arguments,
                                          size_t count,
                                          struct sclera_answer **out);

// Sends bytes as they are, all of them, for a host that speaks on the connection in its own way.
enum sclera_result sclera_connection_write(struct sclera_connection *connection,
                                           const uint8_t *data,
                                           size_t length);

// Receives at least one byte and at most `capacity`; writes how many to `out_length`, 0 if the server has closed.
enum sclera_result sclera_connection_read(struct sclera_connection *connection,
                                          uint8_t *data,
                                          size_t capacity,
                                          size_t *out_length);

// Gives a connection back. `at_rest`: nothing of a message is under way, so that it can serve again; otherwise it is
// closed. NULL is fine.
void sclera_connection_give_back(struct sclera_connection *connection,
                                 bool at_rest);

// The return value; SCLERA_UNDEFINED of a method that has none. Its bytes are valid until the answer is freed.
enum sclera_result sclera_answer_value(const struct sclera_answer *answer,
                                       struct sclera_value *out);

// How many arguments were passed by reference.
size_t sclera_answer_reference_count(const struct sclera_answer *answer);

// What the by-reference argument number `index` (from 0, among those by reference) became.
enum sclera_result sclera_answer_reference(const struct sclera_answer *answer,
                                           size_t index,
                                           struct sclera_value *out);

// What the method wrote to its current device. Valid until the answer is freed.
struct sclera_slice sclera_answer_output(const struct sclera_answer *answer);

// Frees an answer. NULL is fine.
void sclera_answer_free(struct sclera_answer *answer);

// Begins to log in to the server of this name, with user name and password if the profile has them, else as whom the
// link's certificate names. Nothing is sent: connect as sclera_protocol_target says, then send what
// sclera_protocol_unsent gives. Free it with sclera_protocol_free.
enum sclera_result sclera_protocol_begin(const struct sclera_worker *worker,
                                         const char *server,
                                         struct sclera_protocol **out);

// Where to connect, and how.
enum sclera_result sclera_protocol_target(const struct sclera_protocol *protocol, struct sclera_target *out);

// The bytes to send now; empty if there are none. Valid until the next call with this object. They may hold a
// password: without TLS they are readable on the way.
struct sclera_slice sclera_protocol_unsent(const struct sclera_protocol *protocol);

// The first `count` of these bytes have been sent.
void sclera_protocol_sent(struct sclera_protocol *protocol, size_t count);

// Takes bytes that came from the superserver, all of them, and says what is waited for now.
enum sclera_protocol_state sclera_protocol_receive(struct sclera_protocol *protocol,
                                                   const uint8_t *data,
                                                   size_t length);

// The link has broken, `shaking_hands` if TLS was not done yet. `alert` is the number of the TLS alert that the
// superserver sent, such as 48, or negative if it sent none. Over TLS 1.3 a refused certificate shows only here, after the handshake. Afterwards
// sclera_protocol_failure says what it means.
void sclera_protocol_broken(struct sclera_protocol *protocol,
                            bool shaking_hands,
                            int32_t alert);

// What is waited for.
enum sclera_protocol_state sclera_protocol_standing(const struct sclera_protocol *protocol);

// Begins a call of a class method; SCLERA_WRONG_STATE if the conversation is not at rest.
enum sclera_result sclera_protocol_call(struct sclera_protocol *protocol,
                                        const char *class_name,
                                        const char *method,
                                        const struct sclera_value *arguments,
                                        size_t count);

// Takes the answer of the call; free it with sclera_answer_free. SCLERA_FAILED is an error of the method, which
// sclera_last_error tells. The conversation is at rest again in both cases.
enum sclera_result sclera_protocol_answer(struct sclera_protocol *protocol,
                                          struct sclera_answer **out);

// Why the conversation is over; false if it is not. The message is valid until the object is freed.
bool sclera_protocol_failure(struct sclera_protocol *protocol, struct sclera_failure *out);

// Frees a conversation; the link is the host's to close. NULL is fine.
void sclera_protocol_free(struct sclera_protocol *protocol);

// Connects to a server of a CSP.ini, logs in and makes one call; blocks within the server's timeouts. `config_path` is
// CSP.ini or the directory that holds it. `settings` are keys and values that stand in for the file's, which stays as
// it is. If this process is root, a `{command}` of the server runs as the user of the web server's workers, or else as
// CSP.ini's owner, or as nobody if that is root. SCLERA_OK says that the trial was made, whatever it found: see
// sclera_trial_failure. Free it with sclera_trial_free.
enum sclera_result sclera_trial_run(const char *config_path,
                                    const char *server,
                                    const struct sclera_pair *settings,
                                    size_t count,
                                    struct sclera_trial **out);

// Whether the trial failed; fills `out` with why. False: all is well, and `out` is not written.
bool sclera_trial_failure(const struct sclera_trial *trial, struct sclera_failure *out);

// The report for people, in lines of at most 80 columns. Holds no secret. Valid until the trial is freed.
struct sclera_slice sclera_trial_text(const struct sclera_trial *trial);

// The same for programs, as a JSON object. Valid until the trial is freed.
struct sclera_slice sclera_trial_json(const struct sclera_trial *trial);

// Frees a trial. NULL is fine.
void sclera_trial_free(struct sclera_trial *trial);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SCLERA_H */
