/* own_socket.c: a program that owns its socket and its TLS, and still obeys CSP.ini.
 *
 *     own_socket CSP.ini [SERVER]
 *
 * CSP.ini says where SERVER (default LOCAL) is, with which certificate to speak to it, and how to log in. The program
 * connects, speaks TLS through rustls, logs in, asks the superserver who it takes it for, and ends. What goes wrong is
 * told as the row of the failure table that it is. docs/c-hosts.md explains the way.
 */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sclera_rustls.h"

/* A connected socket with TLS over it, and what is said on it. */
typedef struct {
    int fd;
    struct rustls_connection *tls;
    struct sclera_protocol *protocol;
} link_t;

static void print_log(void *userdata, enum sclera_level level, const char *text, size_t length)
{
    (void)userdata;
    if (level <= SCLERA_LEVEL_WARNING) {
        fprintf(stderr, "%.*s\n", (int)length, text);
    }
}

static int connect_to(const struct sclera_target *target)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[8];
    int fd = -1;

    snprintf(port, sizeof(port), "%" PRIu16, target->port);
    if (getaddrinfo(target->host, port, &hints, &found) != 0) {
        return -1;
    }
    for (struct addrinfo *address = found; address != NULL && fd < 0; address = address->ai_next) {
        fd = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
        if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

/* rustls' callbacks: 0 is success, anything else an errno value. */
static rustls_io_result receive_bytes(void *userdata, uint8_t *buffer, size_t length, size_t *count)
{
    ssize_t got;

    do {
        got = recv(*(int *)userdata, buffer, length, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno;
    }
    *count = (size_t)got;
    return 0;
}

static rustls_io_result send_bytes(void *userdata, const uint8_t *buffer, size_t length, size_t *count)
{
    ssize_t put;

    do {
        put = send(*(int *)userdata, buffer, length, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    if (put < 0) {
        return errno;
    }
    *count = (size_t)put;
    return 0;
}

/* Sends what rustls has; a failure is not told here, since what the peer said before it closed says more. */
static bool flush(link_t *link)
{
    size_t count;

    while (rustls_connection_wants_write(link->tls)) {
        if (rustls_connection_write_tls(link->tls, send_bytes, &link->fd, &count) != 0) {
            return false;
        }
    }
    return true;
}

/* Encrypts and sends what the protocol has to say. */
static bool speak(link_t *link)
{
    struct sclera_slice unsent = sclera_protocol_unsent(link->protocol);
    size_t count = 0;

    if (unsent.length > 0) {
        if (rustls_connection_write(link->tls, unsent.data, unsent.length, &count) != RUSTLS_RESULT_OK) {
            return false;
        }
        sclera_protocol_sent(link->protocol, count);
    }
    return flush(link);
}

/* Receives once, and hands what was said to the protocol. False: the link is over, and the protocol knows why. */
static bool listen_once(link_t *link)
{
    uint8_t buffer[4096];
    size_t count = 0;
    rustls_io_result failed = rustls_connection_read_tls(link->tls, receive_bytes, &link->fd, &count);
    rustls_result result = RUSTLS_RESULT_OK;

    if (failed == 0 && count > 0) {
        result = rustls_connection_process_new_packets(link->tls);
    }
    if (failed != 0 || count == 0 || result != RUSTLS_RESULT_OK) {
        /* If rustls refused the superserver, it has an alert to send. */
        (void)flush(link);
        if (result != RUSTLS_RESULT_OK && sclera_rustls_alert(result) < 0) {
            char why[256];
            rustls_error(result, why, sizeof(why), &count);
            fprintf(stderr, "own_socket: %.*s\n", (int)count, why);
        }
        sclera_protocol_broken(link->protocol, rustls_connection_is_handshaking(link->tls), sclera_rustls_alert(result));
        return false;
    }
    while (rustls_connection_read(link->tls, buffer, sizeof(buffer), &count) == RUSTLS_RESULT_OK && count > 0) {
        (void)sclera_protocol_receive(link->protocol, buffer, count);
    }
    return true;
}

/* Speaks and listens until the protocol stands where it is wanted. */
static bool reach(link_t *link, enum sclera_protocol_state wanted)
{
    for (;;) {
        enum sclera_protocol_state state = sclera_protocol_standing(link->protocol);

        if (state == wanted || state == SCLERA_PROTOCOL_FAILED) {
            return state == wanted;
        }
        /* A failed write is followed by a read: the reason may be waiting there. */
        (void)speak(link);
        if (!listen_once(link)) {
            return false;
        }
    }
}

static int ask_who_i_am(link_t *link)
{
    struct sclera_answer *answer = NULL;
    struct sclera_value value;
    int status = 1;

    if (sclera_protocol_call(link->protocol, "%SYSTEM.Process", "UserName", NULL, 0) != SCLERA_OK
        || !reach(link, SCLERA_PROTOCOL_ANSWERED)
        || sclera_protocol_answer(link->protocol, &answer) != SCLERA_OK) {
        return 1;
    }
    if (sclera_answer_value(answer, &value) == SCLERA_OK) {
        printf("logged in as %.*s\n", (int)value.bytes.length, (const char *)value.bytes.data);
        status = 0;
    }
    sclera_answer_free(answer);
    return status;
}

static int run(struct sclera_worker *worker, const char *server)
{
    const struct rustls_client_config *config = NULL;
    struct sclera_target target = {.size = sizeof(target)};
    struct sclera_failure failure = {.size = sizeof(failure)};
    link_t link = {.fd = -1};
    int status = 1;

    if (sclera_protocol_begin(worker, server, &link.protocol) != SCLERA_OK
        || sclera_protocol_target(link.protocol, &target) != SCLERA_OK
        || sclera_rustls_client_config(worker, server, &config) != SCLERA_OK) {
        fprintf(stderr, "own_socket: %s\n", sclera_last_error());
    } else if ((link.fd = connect_to(&target)) < 0) {
        fprintf(stderr, "own_socket: cannot connect to %s:%" PRIu16 "\n", target.host, target.port);
    } else if (rustls_client_connection_new(config, target.server_name, &link.tls) != RUSTLS_RESULT_OK) {
        fprintf(stderr, "own_socket: %s is no name for TLS\n", target.server_name);
    } else if (reach(&link, SCLERA_PROTOCOL_READY)) {
        status = ask_who_i_am(&link);
        rustls_connection_send_close_notify(link.tls);
        (void)flush(&link);
    }
    if (sclera_protocol_failure(link.protocol, &failure)) {
        fprintf(stderr, "own_socket: %s\n", failure.message);
        status = 1;
    }
    rustls_connection_free(link.tls);
    rustls_client_config_free(config);
    if (link.fd >= 0) {
        close(link.fd);
    }
    sclera_protocol_free(link.protocol);
    return status;
}

int main(int argc, char **argv)
{
    struct sclera_options options = {.size = sizeof(options), .abi = SCLERA_ABI, .log = print_log};
    struct sclera_gateway *gateway = NULL;
    struct sclera_worker *worker = NULL;
    int status = 1;

    if (argc < 2) {
        fprintf(stderr, "usage: own_socket CSP.ini [SERVER]\n");
        return 2;
    }
    options.config_path = argv[1];
    options.host_software = "own_socket.c";
    if (sclera_gateway_open(&options, &gateway) == SCLERA_OK && sclera_worker_start(gateway, &worker) == SCLERA_OK) {
        status = run(worker, argc > 2 ? argv[2] : "LOCAL");
    } else {
        fprintf(stderr, "own_socket: %s\n", sclera_last_error());
    }
    sclera_worker_stop(worker);
    sclera_gateway_free(gateway);
    return status;
}
