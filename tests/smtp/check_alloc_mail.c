/* One core with everything on it, its client and its next hop in one thread, and memory that runs
 * out at every allocation in turn: starting, receiving, delivering to a mailbox and to a relay,
 * bouncing, recovering. A refusal is allowed; a crash, a leak, a message that was answered with 250
 * and is gone, and a queue that never empties when memory is back are not. */
#include "tests/alloc_failure.h"

#include "io/clock.h"
#include "io/sys.h"
#include "smtp/service.h"
#include "tests/dir_records.h"
#include "tests/io/support.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

enum {
    DATA_PATH_MAX = 512,
    SINK_CONNS_MAX = 32,
    SINK_BUF_BYTES = 1 << 20,
    ARMED_TURNS = 40, /* after the client is gone */
    IDLE_TURNS = 8,   /* then the clock is moved on */
    DRAIN_TURNS_MAX = 16000,
    ARMED_WAIT_NS =
        TURN_WAIT_NS / 4, /* of a turn: what is under way shall get far before memory is back */
    DRAIN_WAIT_NS = TURN_WAIT_NS / 32, /* most turns of a drain only pass the time */
    SEGMENT_BYTES = 5 * 1024 * 1024,
};

#define MARK "X-Mark: 4711\r\n"

/* --- the clock: moved on when nothing happens, so that retries come soon
 * ------------------------ */

static uint64_t clock_ahead_ns;

uint64_t clock_monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * MX_NS_PER_S + (uint64_t)now.tv_nsec + clock_ahead_ns;
}

int64_t clock_wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 +
           (int64_t)(clock_ahead_ns / MX_NS_PER_MS);
}

/* --- the next hop: takes everything but <nobody@...>
 * -------------------------------------------- */

struct sink_conn {
    int fd;
    bool in_data;
    size_t len;
    char *buf;
};

static struct {
    int listener;
    struct ring_addr addr;
    struct sink_conn conns[SINK_CONNS_MAX];
    unsigned conn_count;
    unsigned got; /* messages with the mark */
} sink;

static void sink_say(struct sink_conn *c, const char *text)
{
    (void)send(c->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void sink_line(struct sink_conn *c, const char *line)
{
    if (strncasecmp(line, "EHLO", 4) == 0) {
        sink_say(c, "250-sink\r\n250 PIPELINING\r\n");
    } else if (strncasecmp(line, "RCPT TO:<nobody@", 16) == 0) {
        sink_say(c, "550 5.1.1 no such user\r\n");
    } else if (strncasecmp(line, "DATA", 4) == 0) {
        sink_say(c, "354 go\r\n");
        c->in_data = true;
    } else if (strncasecmp(line, "QUIT", 4) == 0) {
        sink_say(c, "221 bye\r\n");
    } else {
        sink_say(c, "250 ok\r\n");
    }
}

static void sink_eat(struct sink_conn *c)
{
    for (;;) {
        c->buf[c->len] = '\0';
        char *end = strstr(c->buf, c->in_data ? "\r\n.\r\n" : "\r\n");
        if (end == NULL) {
            return;
        }
        end += c->in_data ? 5 : 2;
        char kept = *end;
        *end = '\0';
        if (c->in_data) {
            sink.got += strstr(c->buf, MARK) != NULL;
            c->in_data = false;
            sink_say(c, "250 2.0.0 taken\r\n");
        } else {
            sink_line(c, c->buf);
        }
        *end = kept;
        c->len -= (size_t)(end - c->buf);
        memmove(c->buf, end, c->len);
    }
}

static void sink_poll(void)
{
    int fd;
    if (sink.conn_count < SINK_CONNS_MAX && ring_accept_now(&fd, sink.listener) == MX_OK) {
        struct sink_conn *c = &sink.conns[sink.conn_count++];
        *c = (struct sink_conn){.fd = fd, .buf = __real_malloc(SINK_BUF_BYTES)};
        ALLOC_CHECK(c->buf != NULL);
        sink_say(c, "220 sink\r\n");
    }
    for (unsigned i = 0; i < sink.conn_count; i++) {
        struct sink_conn *c = &sink.conns[i];
        ssize_t n;
        while (c->fd >= 0 &&
               (n = recv(c->fd, c->buf + c->len, SINK_BUF_BYTES - 1 - c->len, MSG_DONTWAIT)) >= 0) {
            if (n == 0) {
                close(c->fd);
                c->fd = -1;
                break;
            }
            c->len += (size_t)n;
            sink_eat(c);
        }
    }
}

static void sink_reset(void)
{
    for (unsigned i = 0; i < sink.conn_count; i++) {
        if (sink.conns[i].fd >= 0) {
            close(sink.conns[i].fd);
        }
        free(sink.conns[i].buf);
    }
    sink.conn_count = 0;
    sink.got = 0;
}

/* --- the configuration
 * -------------------------------------------------------------------------- */

static struct image image;
static struct route_conf routes[2];
static const struct names names; /* no name server */
static struct netaddr bind_addr;
static struct listener_conf listener_conf;
static struct dir_domain domain = {
    .id = 1, .name = SLICE_LITERAL("example.org"), .enabled = true, .allow_relaying = true};
static const struct dir_member members[] = {
    {SLICE_LITERAL("alice@example.org"), 3},
    {SLICE_LITERAL("nobody@example.org"), 5},
    {SLICE_LITERAL("bob@example.org"), 7},
};
static const struct dir_list list = {members, mx_countof(members)};
DIR_RECORDS(records, 1024);
static const struct dir_address addresses[] = {{.domain_id = 1,
                                                .local = SLICE_LITERAL("alice"),
                                                .enabled = true,
                                                .object_id = 1,
                                                .mailbox = SLICE_LITERAL("alice@example.org")},
                                               {.domain_id = 1,
                                                .local = SLICE_LITERAL("team"),
                                                .kind = DIR_LIST,
                                                .enabled = true,
                                                .object_id = 2,
                                                .mailbox = SLICE_LITERAL("team@example.org"),
                                                .list = &list}};
static bool to_list; /* mail goes to team@, not to its members */
static char cert[4096], key[4096];
static struct slice cert_pem, key_pem;

static void configure(void)
{
    struct expr_branch branch = {
        .condition = SLICE_LITERAL("is_local_address(rcpt) && counter_incr('*', rcpt) > 0 && "
                                   "key_set('*', rcpt, sender) && "
                                   "key_get('*', rcpt) == sender"),
        .then = SLICE_LITERAL("'local'")};
    struct expr_source source = {
        .branches = &branch, .branch_count = 1, .otherwise = SLICE_LITERAL("'source'")};
    struct expr_problem problem;
    struct expr_program *program;
    ALLOC_CHECK(expr_compile(&program, &source, EXPR_QRCPT, &problem) == MX_OK);
    sink.listener = listen_any(&sink.addr);
    struct netaddr to = ring_addr_netaddr(&sink.addr);
    routes[0] =
        (struct route_conf){.name = SLICE_LITERAL("local"), .kind = ROUTE_LOCAL, .index = 0};
    routes[1] = (struct route_conf){.name = SLICE_LITERAL("source"),
                                    .kind = ROUTE_RELAY,
                                    .address = SLICE_LITERAL("127.0.0.1"),
                                    .port = to.port,
                                    .index = 1};
    bind_addr = (struct netaddr){.family = 4, .bytes = {127, 0, 0, 1}};
    listener_conf = (struct listener_conf){.name = SLICE_LITERAL("smtp"),
                                           .binds = &bind_addr,
                                           .bind_count = 1,
                                           .tls = true,
                                           .connections_max = 10,
                                           .backlog = 10};
    image = (struct image){.generation = 1,
                           .hostname = SLICE_LITERAL("mx.example.org"),
                           .limits = {.idle_ms = 300000,
                                      .data_block_ms = 600000,
                                      .data_rate = 500,
                                      .data_grace_ms = 180000,
                                      .session_ms = 3600000,
                                      .proxy_header_ms = 5000,
                                      .tls_handshake_ms = 60000,
                                      .size_bytes_max = 10000000,
                                      .line_bytes_max = 4096,
                                      .rcpts_max = 100,
                                      .received_max = 50,
                                      .errors_max = 20,
                                      .messages_max = 100,
                                      .commands_max = 100},
                           .connections_max = 10,
                           .client_connections_max = 10,
                           .listeners = &listener_conf,
                           .listener_count = 1,
                           .routes = routes,
                           .route_count = 2,
                           .route_program = program,
                           .routing_asks = true};
    struct writer c = writer_init(cert, sizeof cert), k = writer_init(key, sizeof key);
    ALLOC_CHECK(tls_self_signed(&c, &k, image.hostname, clock_wall_ms()) == MX_OK);
    cert_pem = writer_slice(&c);
    key_pem = writer_slice(&k);
}

/* --- the core
 * ----------------------------------------------------------------------------------- */

static struct world {
    char root[DATA_PATH_MAX], journal[DATA_PATH_MAX + 16], mail[DATA_PATH_MAX + 16];
    struct shard shard;
    struct service service;
    struct journal_store *store;
    struct spool_recovery *recovery;
    struct session_count *sessions;
    struct log log;
    int listen_fd;
    struct ring_addr addr;
    bool stopped, paused;
} world;

static void on_stopped(struct service *service)
{
    (void)service;
    world.stopped = true;
}

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void folder_new(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(world.root, sizeof world.root, "%s/ringmx-alloc-XXXXXX",
             base != NULL                    ? base
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm" /* many small journals: spares the disk */
                                             : "/tmp");
    ALLOC_CHECK(mkdtemp(world.root) != NULL);
    snprintf(world.journal, sizeof world.journal, "%s/journal", world.root);
    snprintf(world.mail, sizeof world.mail, "%s/mail", world.root);
    ALLOC_CHECK(sys_mkdirs(world.mail) == MX_OK);
}

static void folder_remove(void)
{
    (void)nftw(world.root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a start does, in its order. On failure everything is given back: an operator sees a message
 * and an exit code. */
static mx_err core_start(void)
{
    struct shard_conf shard_conf = {
        .count = 1, .cpu = -1, .blocks_max = 16384, .workers = 2, .log_level = LOG_INFO};
    struct journal_conf journal_conf = {
        .node = 1, .first_segment_bytes = SEGMENT_BYTES, .segment_bytes = SEGMENT_BYTES};
    struct spool_recover_conf recover = {.log = &world.log};
    struct spool_recovered found;
    bool opened = false;
    const char *what = "";
    world.store = NULL;
    world.recovery = NULL;
    world.sessions = NULL;
    world.stopped = false;
    mx_err err = log_init(&world.log, -1, LOG_INFO);
    if (err) {
        return err;
    }
    err = session_count_new(&world.sessions, 1, 1, 1);
    if (!err) {
        err = journal_store_open(&world.store, world.journal, &journal_conf, &world.log);
    }
    struct service_conf conf = {.image = &image,
                                .domains = &domain,
                                .domain_count = 1,
                                .addresses = records,
                                .address_count = mx_countof(addresses),
                                .hash_seed = 42,
                                .store = world.store,
                                .sessions = world.sessions,
                                .names = &names,
                                .listen_fds = &world.listen_fd,
                                .cert_pem = cert_pem,
                                .key_pem = key_pem,
                                .deliver = {.mail_root = world.mail, .pause.all = world.paused},
                                .stopped = on_stopped};
    schedule_default(&conf.deliver.schedule);
    bool has_shard = !err && (err = shard_init(&world.shard, &shard_conf)) == MX_OK;
    bool shard_is_open = !err && (err = shard_open(&world.shard)) == MX_OK;
    if (!err) {
        err = service_open(&world.service, &world.shard, &conf, &what);
        ALLOC_CHECK(err == MX_OK || what[0] != '\0');
    }
    if (!err) {
        opened = true;
        err = spool_recover(&world.recovery, world.store, &recover, &found);
        err = err ? err : spool_recovery_divide(world.recovery, 1);
    }
    if (!err) {
        service_start(&world.service);
        service_adopt(&world.service, spool_recovery_part(world.recovery, 0));
        return MX_OK;
    }
    if (opened) {
        service_close(&world.service);
    }
    if (shard_is_open) {
        shard_close(&world.shard);
    }
    if (has_shard) {
        shard_fini(&world.shard);
    }
    spool_recovery_free(world.recovery);
    if (world.store != NULL) {
        journal_store_close(world.store);
    }
    session_count_free(world.sessions);
    log_fini(&world.log);
    return err;
}

/* Takes the lines; with ALLOC_ONLY they are shown. */
static void log_show(void)
{
    char line[LOG_TEXT_BYTES];
    struct writer w = writer_init(line, sizeof line);
    while (log_take(&world.shard.log, &w)) {
        if (getenv("ALLOC_ONLY") != NULL) {
            fprintf(stderr, "%.*s", (int)w.len, line);
        }
        w = writer_init(line, sizeof line);
    }
}

static void turn_for(uint64_t wait_ns)
{
    shard_turn(&world.shard, wait_ns);
    sink_poll();
    log_show();
}

static void turn(void)
{
    turn_for(ARMED_WAIT_NS);
}

static void core_stop(void)
{
    service_stop(&world.service);
    for (unsigned i = 0; !world.stopped; i++) {
        ALLOC_CHECK(i < DRAIN_TURNS_MAX);
        turn_for(DRAIN_WAIT_NS);
        clock_ahead_ns += i % IDLE_TURNS == IDLE_TURNS - 1 ? MX_NS_PER_S : 0;
    }
    ALLOC_CHECK(world.service.sessions_pool.used == 0);
    ALLOC_CHECK(world.service.spool.incomings.used == 0 && world.service.spool.txns.used == 0);
    ALLOC_CHECK(world.service.spool.writes.used == 0);
    ALLOC_CHECK(session_count_all(world.sessions) == 0);
    service_close(&world.service);
    ALLOC_CHECK(world.shard.blocks.used == 0 && world.shard.park_blocks.used == 0 &&
                world.shard.park_small.used == 0);
    shard_close(&world.shard);
    shard_fini(&world.shard);
    spool_recovery_free(world.recovery);
    journal_store_close(world.store);
    session_count_free(world.sessions);
    log_fini(&world.log);
}

static void listener_new(void)
{
    world.listen_fd = listen_any(&world.addr);
}

/* --- the client
 * --------------------------------------------------------------------------------- */

/* Code of the next reply, 0 when the connection has ended. */
static unsigned reply_read(int fd)
{
    char line[1024];
    size_t len = 0;
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        ssize_t n;
        while ((n = recv(fd, line + len, 1, MSG_DONTWAIT)) == 1) {
            len += len < sizeof line - 1;
            if (line[len - 1] == '\n') {
                if (len >= 4 && line[3] != '-') {
                    return (unsigned)strtoul(line, NULL, 10);
                }
                len = 0;
            }
        }
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return 0;
        }
        turn();
    }
    ALLOC_CHECK(!"the server has neither answered nor closed");
    return 0;
}

static void client_say(int fd, const char *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, bytes + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            return; /* the next reply tells */
        }
        done += n > 0 ? (size_t)n : 0;
        turn();
    }
}

/* One message of about that size to a mailbox, a relay, and somebody unknown there; true when it
 * was acknowledged. Refusals of any kind are followed by QUIT. */
static bool mail_send(size_t bytes)
{
    static const char *const each[] = {
        "EHLO client.example\r\n",          "MAIL FROM:<alice@example.org>\r\n",
        "RCPT TO:<alice@example.org>\r\n",  "RCPT TO:<bob@example.org>\r\n",
        "RCPT TO:<nobody@example.org>\r\n", "DATA\r\n"};
    static const char *const team[] = {"EHLO client.example\r\n",
                                       "MAIL FROM:<alice@example.org>\r\n",
                                       "RCPT TO:<team@example.org>\r\n", "DATA\r\n"};
    const char *const *commands = to_list ? team : each;
    size_t command_count = to_list ? mx_countof(team) : mx_countof(each);
    int fd = dial(&world.addr);
    unsigned code = reply_read(fd);
    for (size_t i = 0; i < command_count && code >= 200 && code < 400; i++) {
        client_say(fd, commands[i], strlen(commands[i]));
        code = reply_read(fd);
    }
    bool acked = false;
    if (code == 354) {
        static const char line[] = "all work and no play makes jack a dull boy, says the book\r\n";
        static char text[128 * (sizeof line - 1)];
        for (size_t at = 0; at < sizeof text; at += sizeof line - 1) {
            memcpy(text + at, line, sizeof line - 1);
        }
        client_say(fd, MARK "\r\n", strlen(MARK "\r\n"));
        for (size_t done = 0; done < bytes; done += sizeof text) {
            client_say(fd, text, sizeof text);
        }
        client_say(fd, ".\r\n", 3);
        code = reply_read(fd);
        acked = code == 250;
    }
    ALLOC_CHECK(code == 0 || code == 250 || (code >= 400 && code < 500)); /* never for good */
    client_say(fd, "QUIT\r\n", 6);
    (void)reply_read(fd);
    close(fd);
    return acked;
}

/* --- what came of it
 * ---------------------------------------------------------------------------- */

/* Files of the mailbox with one text and without the other. */
static unsigned count_files(const char *what, const char *without)
{
    static char bytes[SINK_BUF_BYTES];
    char folder[DATA_PATH_MAX * 2], path[DATA_PATH_MAX * 4];
    unsigned count = 0;
    snprintf(folder, sizeof folder, "%s/example.org/alice/new", world.mail);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        ALLOC_CHECK(file != NULL);
        bytes[fread(bytes, 1, sizeof bytes - 1, file)] = '\0';
        fclose(file);
        count += strstr(bytes, what) != NULL && (without == NULL || strstr(bytes, without) == NULL);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* Memory is there again: what is queued must leave. */
static void drain(void)
{
    const struct spool *spool = &world.service.spool;
    for (unsigned i = 0; spool->count > 0 || spool->part != NULL; i++) {
        ALLOC_CHECK(i < DRAIN_TURNS_MAX);
        turn_for(DRAIN_WAIT_NS);
        clock_ahead_ns += i % IDLE_TURNS == IDLE_TURNS - 1 ? 30 * MX_NS_PER_S : 0;
    }
}

static void expect_outcome(bool acked)
{
    static const char report[] = "report-type=delivery-status";
    unsigned reports = count_files(report, NULL);
    unsigned copies = count_files(MARK, report); /* the report quotes the header */
    ALLOC_CHECK(copies <= 1 && reports <= 1);
    if (acked) {
        ALLOC_CHECK(copies == 1 && reports == 1 && sink.got >= 1);
    }
}

/* --- scenarios
 * ---------------------------------------------------------------------------------- */

static void start(void)
{
    folder_new();
    listener_new();
    alloc_arm();
    mx_err err = core_start();
    alloc_disarm();
    if (err) {
        ALLOC_CHECK(err == MX_ERR_NOMEM || err == MX_ERR_TLS);
        close(world.listen_fd);
        listener_new();
        ALLOC_CHECK(core_start() == MX_OK); /* nothing is left in the way */
    }
    ALLOC_CHECK(mail_send(1000));
    drain();
    expect_outcome(true);
    core_stop();
    sink_reset();
    folder_remove();
}

static void receive_and_deliver(size_t bytes)
{
    folder_new();
    listener_new();
    ALLOC_CHECK(core_start() == MX_OK);
    alloc_arm();
    bool acked = mail_send(bytes);
    for (unsigned i = 0; i < ARMED_TURNS; i++) {
        turn();
        clock_ahead_ns += i % IDLE_TURNS == IDLE_TURNS - 1 ? 30 * MX_NS_PER_S : 0;
    }
    alloc_disarm();
    bool failed = atomic_load(&alloc_failed);
    ALLOC_CHECK(acked || failed);
    drain();
    expect_outcome(acked);
    /* And the next message is taken as ever. */
    if (!acked) {
        ALLOC_CHECK(mail_send(1000));
        drain();
    }
    core_stop();
    sink_reset();
    folder_remove();
}

static void small_message(void)
{
    receive_and_deliver(1000);
}

static void large_message(void)
{
    receive_and_deliver(600 * 1000);
}

static void small_to_list(void)
{
    to_list = true;
    receive_and_deliver(1000);
    to_list = false;
}

static void large_to_list(void)
{
    to_list = true;
    receive_and_deliver(600 * 1000);
    to_list = false;
}

/* What an earlier process left, large and small, is taken over and delivered. */
static void recovery(void)
{
    folder_new();
    listener_new();
    world.paused = true;
    ALLOC_CHECK(core_start() == MX_OK);
    ALLOC_CHECK(mail_send(600 * 1000));
    core_stop();
    world.paused = false;
    listener_new();
    alloc_arm();
    mx_err err = core_start();
    for (unsigned i = 0; !err && i < ARMED_TURNS; i++) {
        turn();
        clock_ahead_ns += i % IDLE_TURNS == IDLE_TURNS - 1 ? 30 * MX_NS_PER_S : 0;
    }
    alloc_disarm();
    if (err) {
        ALLOC_CHECK(err == MX_ERR_NOMEM || err == MX_ERR_TLS);
        close(world.listen_fd);
        listener_new();
        ALLOC_CHECK(core_start() == MX_OK);
    }
    drain();
    expect_outcome(true);
    core_stop();
    sink_reset();
    folder_remove();
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* or a short wait is mostly the kernel's allowance */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    configure();
    for (size_t i = 0; i < mx_countof(addresses); i++) {
        dir_records_add(records, records_max, &addresses[i]);
    }
    every_allocation("start", start, 1);
    every_allocation("small message", small_message, 1);
    every_allocation("large message", large_message, 2);
    every_allocation("small message to a list", small_to_list, 2);
    every_allocation("large message to a list", large_to_list, 2);
    every_allocation("recovery", recovery, 2);
    ring_close_fd(sink.listener);
    expr_free((struct expr_program *)(uintptr_t)image.route_program);
    return 0;
}
