#include "admin/pause_file.h"

#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line for each: "*" is everything, "=NAME" a route. */

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
    bool route = line.len > 1 && line.ptr[0] == '=';
    return route ? pause_add(pause, slice_from(line, 1)) : MX_ERR_SYNTAX;
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
    char text[PAUSED_ROUTES_MAX * (PAUSED_NAME_MAX + 2) + 8];
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
    return sys_replace_file(path, writer_slice(&w));
}

static unsigned find(const struct deliver_pause *pause, struct slice route)
{
    unsigned i = 0;
    while (i < pause->route_count && !slice_equal(slice_of_text(pause->routes[i]), route)) {
        i++;
    }
    return i;
}

mx_err pause_add(struct deliver_pause *pause, struct slice route)
{
    unsigned at = find(pause, route);
    if (route.len == 0) {
        pause->all = true;
    } else if (at == pause->route_count) {
        if (at == PAUSED_ROUTES_MAX || route.len > PAUSED_NAME_MAX) {
            return MX_ERR_LIMIT;
        }
        memcpy(pause->routes[at], route.ptr, route.len);
        pause->routes[at][route.len] = '\0';
        pause->route_count++;
    }
    return MX_OK;
}

void pause_remove(struct deliver_pause *pause, struct slice route)
{
    unsigned at = find(pause, route);
    if (route.len == 0) {
        *pause = (struct deliver_pause){.all = false};
    } else if (at < pause->route_count) {
        memmove(pause->routes[at], pause->routes[at + 1],
                (pause->route_count - at - 1) * sizeof pause->routes[0]);
        pause->route_count--;
        memset(pause->routes[pause->route_count], 0, sizeof pause->routes[0]);
    }
}
