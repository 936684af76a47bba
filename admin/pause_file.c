#include "admin/pause_file.h"

#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line for each: "*" is everything, "=NAME" a route, "+NAME" a virtual queue. */

static void path_of(char out[DATA_PATH_MAX + 16], const char *root)
{
    (void)snprintf(out, DATA_PATH_MAX + 16, "%s/paused", root);
}

static mx_err take_line(struct deliver_pause *pause, struct slice line)
{
    if (slice_equal(line, SLICE_LITERAL("*"))) {
        pause->all = true;
        return MX_OK;
    }
    if (line.len < 2 || (line.ptr[0] != '=' && line.ptr[0] != '+')) {
        return MX_ERR_SYNTAX;
    }
    struct slice name = slice_from(line, 1);
    return pause_add(pause, line.ptr[0] == '=' ? &(struct pause_of){.route = name}
                                               : &(struct pause_of){.queue = name});
}

mx_err pause_file_read(struct deliver_pause *out_pause, const char *root)
{
    char path[DATA_PATH_MAX + 16];
    uint8_t *bytes = NULL;
    size_t len = 0;
    path_of(path, root);
    *out_pause = (struct deliver_pause){.all = false};
    mx_err err = sys_read_file(&bytes, &len, path, PAUSE_FILE_MAX);
    if (err) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err;
    }
    struct slice left = slice_of(bytes, len);
    while (!err && left.len > 0) {
        size_t end = slice_find(left, '\n');
        err = end == left.len ? MX_ERR_SYNTAX : take_line(out_pause, slice_first(left, end));
        left = slice_from(left, mx_min_size(end + 1, left.len));
    }
    free(bytes);
    return err;
}

mx_err pause_file_write(const struct deliver_pause *pause, const char *root)
{
    char path[DATA_PATH_MAX + 16];
    char text[PAUSED_ROUTES_MAX * (PAUSED_NAME_MAX + 2) + IMAGE_QUEUES_MAX * (QUEUE_NAME_MAX + 2) +
              8];
    struct writer w = writer_init(text, sizeof text);
    path_of(path, root);
    if (pause->all) {
        put_slice(&w, SLICE_LITERAL("*\n"));
    }
    for (unsigned i = 0; i < pause->route_count; i++) {
        put_u8(&w, '=');
        put_slice(&w, slice_of_text(pause->routes[i]));
        put_u8(&w, '\n');
    }
    for (unsigned i = 0; i < pause->queues.count; i++) {
        put_u8(&w, '+');
        put_slice(&w, slice_of_text(pause->queues.names[i]));
        put_u8(&w, '\n');
    }
    return sys_replace_file(path, writer_slice(&w));
}

/* --- names -------------------------------------------------------------------------------------
 */

/* Of one kind, each of `bytes` with its NUL, zero behind that. */
struct names {
    char *first;
    size_t bytes;
    unsigned *count, max;
};

static struct names routes_of(struct deliver_pause *pause)
{
    return (struct names){pause->routes[0], sizeof pause->routes[0], &pause->route_count,
                          PAUSED_ROUTES_MAX};
}

static struct names queues_of(struct deliver_pause *pause)
{
    return (struct names){pause->queues.names[0], sizeof pause->queues.names[0],
                          &pause->queues.count, IMAGE_QUEUES_MAX};
}

static char *name_at(const struct names *names, unsigned i)
{
    return names->first + i * names->bytes;
}

static unsigned find(const struct names *names, struct slice name)
{
    unsigned i = 0;
    while (i < *names->count && !slice_equal(slice_of_text(name_at(names, i)), name)) {
        i++;
    }
    return i;
}

static mx_err add(const struct names *names, struct slice name)
{
    unsigned at = find(names, name);
    if (name.len == 0 || at < *names->count) {
        return MX_OK;
    }
    if (at == names->max || name.len >= names->bytes) {
        return MX_ERR_LIMIT;
    }
    memcpy(name_at(names, at), name.ptr, name.len);
    ++*names->count;
    return MX_OK;
}

static void drop(const struct names *names, struct slice name)
{
    unsigned at = find(names, name);
    if (at < *names->count) {
        --*names->count;
        memmove(name_at(names, at), name_at(names, at + 1), (*names->count - at) * names->bytes);
        memset(name_at(names, *names->count), 0, names->bytes);
    }
}

static bool is_everything(const struct pause_of *of)
{
    return of->route.len == 0 && of->queue.len == 0;
}

mx_err pause_add(struct deliver_pause *pause, const struct pause_of *of)
{
    struct names routes = routes_of(pause), queues = queues_of(pause);
    pause->all = pause->all || is_everything(of);
    mx_err err = add(&routes, of->route);
    return err ? err : add(&queues, of->queue);
}

void pause_remove(struct deliver_pause *pause, const struct pause_of *of)
{
    struct names routes = routes_of(pause), queues = queues_of(pause);
    if (is_everything(of)) {
        *pause = (struct deliver_pause){.all = false};
    } else {
        drop(&routes, of->route);
        drop(&queues, of->queue);
    }
}
