/* host.c: the smallest program that uses Sclera as a web server does.
 *
 *     host CSP.ini [METHOD [TARGET [SERVER]]]
 *
 * It sends one request through the gateway and prints the answer. Then it takes a connection to SERVER (default LOCAL)
 * out of the pool and asks the superserver who it takes us for. The contract behind the calls stands in sclera.h.
 *
 *     cc -Wall -Wextra -Werror -I include host.c -L target/debug -lsclera -Wl,-rpath,target/debug -o host
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sclera.h"

static const char *const LEVELS[] = {"error", "warning", "notice", "info", "debug"};

/* Sclera's log lines; they may come from its caretaker thread. */
static void print_log(void *userdata, sclera_level level, const char *text, size_t length)
{
    (void)userdata;
    fprintf(stderr, "%s: %.*s\n", LEVELS[level], (int)length, text);
}

static sclera_slice slice(const char *text)
{
    return (sclera_slice){(const uint8_t *)text, strlen(text)};
}

/* Writes bytes to standard output; 0 is success. */
static int print(sclera_slice bytes)
{
    return fwrite(bytes.data, 1, bytes.length, stdout) == bytes.length ? 0 : -1;
}

static int print_head(const sclera_exchange *exchange)
{
    sclera_response response = {.size = sizeof(response)};

    if (sclera_exchange_response(exchange, &response) != SCLERA_OK) {
        fprintf(stderr, "host: %s\n", sclera_last_error());
        return -1;
    }
    printf("%u ", response.status);
    if (print(response.reason) != 0) {
        return -1;
    }
    printf("\n");
    for (size_t i = 0; i < response.header_count; i++) {
        if (print(response.headers[i].name) != 0 || printf(": ") < 0 || print(response.headers[i].value) != 0) {
            return -1;
        }
        printf("\n");
    }
    if (response.content_length >= 0) {
        printf("Content-Length: %" PRId64 "\n", response.content_length);
    }
    printf("\n");
    return 0;
}

/* Drives the exchange to its end: each step says what to do next. 0 is success. */
static int carry(sclera_exchange *exchange)
{
    for (;;) {
        switch (sclera_exchange_drive(exchange)) {
        case SCLERA_STEP_WAIT:
            if (sclera_exchange_wait(exchange) != SCLERA_OK) {
                fprintf(stderr, "host: %s\n", sclera_last_error());
                return -1;
            }
            break;
        case SCLERA_STEP_NEED_BODY: /* our request has none */
            sclera_exchange_give_body(exchange, NULL, 0, true);
            break;
        case SCLERA_STEP_HEAD:
            if (print_head(exchange) != 0) {
                return -1;
            }
            break;
        case SCLERA_STEP_BODY: {
            sclera_slice body = sclera_exchange_body(exchange);

            if (print(body) != 0) {
                return -1;
            }
            sclera_exchange_consume(exchange, body.length);
            break;
        }
        case SCLERA_STEP_DONE:
            return 0;
        case SCLERA_STEP_ABORT:
            return -1;
        }
    }
}

/* One request and its answer, printed. 0 is success; an answer that Sclera had to give for the superserver is not. */
static int request(sclera_worker *worker, const char *method, const char *target)
{
    const sclera_pair headers[] = {
        {slice("Host"), slice("localhost")},
        {slice("User-Agent"), slice("sclera-host")},
    };
    const sclera_request request = {
        .size = sizeof(request),
        .method = slice(method),
        .target = slice(target),
        .protocol = slice("HTTP/1.1"),
        .headers = headers,
        .header_count = sizeof(headers) / sizeof(headers[0]),
        .content_length = 0,
        .remote_address = slice("127.0.0.1"),
        .server_name = slice("localhost"),
        .server_port = 80,
    };
    sclera_exchange *exchange = NULL;
    sclera_failure failure = {.size = sizeof(failure)};
    int result;

    if (sclera_exchange_begin(worker, &request, &exchange) != SCLERA_OK) {
        fprintf(stderr, "host: %s\n", sclera_last_error());
        return -1;
    }
    result = carry(exchange);
    if (sclera_exchange_failure(exchange, &failure)) {
        fprintf(stderr, "host: %s\n", failure.message);
        result = -1;
    }
    sclera_exchange_free(exchange);
    return result;
}

/* Below requests lies the connection: logged in, taken from the same pool, ours until it is given back. */
static int print_login_identity(sclera_worker *worker, const char *server)
{
    sclera_connection *connection = NULL;
    sclera_answer *answer = NULL;
    sclera_value value = {0};
    int result = -1;

    if (sclera_connection_get(worker, server, &connection) != SCLERA_OK) {
        fprintf(stderr, "host: %s\n", sclera_last_error());
        return -1;
    }
    if (sclera_connection_call(connection, "%SYSTEM.Process", "UserName", NULL, 0, &answer) != SCLERA_OK
        || sclera_answer_value(answer, &value) != SCLERA_OK) {
        fprintf(stderr, "host: %s\n", sclera_last_error());
    }
    else if (value.kind != SCLERA_TEXT && value.kind != SCLERA_BYTES) {
        fprintf(stderr, "host: UserName did not return text\n");
    }
    else {
        printf("\nLogin identity: %.*s\n", (int)value.bytes.length, (const char *)value.bytes.data);
        result = 0;
    }
    sclera_answer_free(answer);
    sclera_connection_give_back(connection, true);
    return result;
}

int main(int argc, char **argv)
{
    const sclera_options options = {
        .size = sizeof(options),
        .abi = SCLERA_ABI,
        .config_path = argc > 1 ? argv[1] : NULL,
        .host_software = "host.c",
        .log = print_log,
    };
    const char *method = argc > 2 ? argv[2] : "GET";
    const char *target = argc > 3 ? argv[3] : "/csp/demo/echo";
    const char *server = argc > 4 ? argv[4] : "LOCAL";
    sclera_gateway *gateway = NULL;
    sclera_worker *worker = NULL;
    int result;

    if (argc < 2 || argc > 5) {
        fprintf(stderr, "usage: %s CSP.ini [METHOD [TARGET [SERVER]]]\n", argv[0]);
        return 2;
    }

    /* A web server opens the gateway before it forks, and starts a worker in each child. */
    if (sclera_gateway_open(&options, &gateway) != SCLERA_OK || sclera_worker_start(gateway, &worker) != SCLERA_OK) {
        fprintf(stderr, "host: %s\n", sclera_last_error());
        sclera_gateway_free(gateway);
        return 1;
    }

    result = request(worker, method, target);
    if (result == 0) {
        result = print_login_identity(worker, server);
    }

    sclera_worker_stop(worker);
    sclera_gateway_free(gateway);
    if (fflush(stdout) != 0) {
        return 1;
    }
    return result == 0 ? 0 : 1;
}
