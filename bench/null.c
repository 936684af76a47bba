#include "bench/null.h"

#include "bench/args.h"
#include "bench/process.h"
#include "io/clock.h"
#include "io/ring.h"

#include <string.h>

enum { PEM_BYTES = 4096, BACKLOG = 4096 };

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench null --listen ADDRESS:PORT [options]\n"
        "Answers SMTP with constants and stores nothing: what a server on this kernel costs at\n"
        "least. Other servers are measured against it (bench/compare).\n"
        "  --epoll           with epoll instead of io_uring\n"
        "  --starttls        offer STARTTLS (self-signed certificate, the TLS of ringmx)\n"
        "  --refuse          answer RCPT with 550\n"
        "  --allow-remote    listen on other addresses than loopback\n");
    return code;
}

static mx_err make_tls(struct tls_ctx **out_ctx)
{
    char cert[PEM_BYTES], key[PEM_BYTES];
    struct writer cert_pem = writer_init(cert, sizeof cert), key_pem = writer_init(key, sizeof key);
    mx_err err =
        tls_self_signed(&cert_pem, &key_pem, SLICE_LITERAL("null.invalid"), clock_wall_ms());
    struct tls_server_conf conf = {.cert_pem = writer_slice(&cert_pem),
                                   .key_pem = writer_slice(&key_pem)};
    return err ? err : tls_server_ctx_new(out_ctx, &conf);
}

static int serve(struct null_server *server, const struct netaddr *addr, bool epoll)
{
    struct ring_listen_conf conf = {
        .addr = ring_addr_of(addr), .backlog = BACKLOG, .no_delay = true};
    mx_err err = server->conf.offer_starttls ? make_tls(&server->tls) : MX_OK;
    err = err ? err : ring_listen(&server->listen_fd, &conf);
    if (err) {
        fprintf(stderr, "ringmx-bench: cannot start: %s\n", err_text(err));
        return 1;
    }
    server->stop = process_stop(PROCESS_WAITS_END);
    process_raise_files();
    printf("null ready\n");
    fflush(stdout);
    int error = (epoll ? null_run_epoll : null_run_uring)(server);
    tls_ctx_free(server->tls);
    if (error != 0) {
        fprintf(stderr, "ringmx-bench: cannot run: %s\n", strerror(error));
        return 1;
    }
    printf("null: %llu connections, %llu messages, %llu dropped\n",
           (unsigned long long)server->connections, (unsigned long long)server->messages,
           (unsigned long long)server->dropped);
    return 0;
}

int null_command(int argc, char **argv)
{
    struct null_server server = {0};
    struct netaddr addr = {0};
    struct args args;
    bool epoll = false, allow_remote = false;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--listen")) {
            addr = args_address(&args);
        } else if (args_is(&args, "--epoll")) {
            epoll = true;
        } else if (args_is(&args, "--starttls")) {
            server.conf.offer_starttls = true;
        } else if (args_is(&args, "--refuse")) {
            server.conf.refuse_rcpts = true;
        } else if (args_is(&args, "--allow-remote")) {
            allow_remote = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else {
            args_unknown(&args);
        }
    }
    if (args.failed || addr.family == 0) {
        return help(2);
    }
    if (!process_may_use(&addr, allow_remote)) {
        return 2;
    }
    return serve(&server, &addr, epoll);
}
