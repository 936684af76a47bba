#include "admin/audit.h"

#include "io/clock.h"

#include <unistd.h>

enum { PAUSE_US = 1000 };

static void await_room(struct log *log)
{
    for (unsigned ms = 0; ms < AUDIT_WAIT_MS && log_is_full(log); ms++) {
        usleep(PAUSE_US);
    }
}

static void put_name(struct writer *w, const char *name)
{
    if (w->len + strlen(name) + sizeof ",..." > AUDIT_PROPERTIES_MAX) {
        w->overflow = true;
    }
    if (!w->overflow) {
        put_text(w, w->len > 0 ? "," : "");
        put_text(w, name);
    }
}

/* Which top-level properties differ; all of them when one side is missing. */
static void put_properties(struct writer *w, const struct api_changed *changed)
{
    const char *name;
    json_t *value;
    const json_t *all = changed->given != NULL ? changed->given : changed->after;
    json_object_foreach((json_t *)(uintptr_t)all, name, value)
    {
        if (changed->before == NULL || !json_equal(json_object_get(changed->before, name), value)) {
            put_name(w, name);
        }
    }
    if (w->overflow) {
        *w = (struct writer){.buf = w->buf, .len = w->len, .cap = w->cap};
        put_text(w, ",...");
    }
}

/* What people call it by. */
static const char *name_of(const struct api_changed *changed)
{
    const char *label = changed->type->label != NULL ? changed->type->label : "name";
    const json_t *object = changed->after != NULL ? changed->after : changed->before;
    return json_string_value(json_object_get(object, label));
}

/* What it is about, and who has asked for it. */
static void log_change(struct log_line *line, const struct api_caller *caller,
                       const struct api_changed *changed)
{
    char from[NETADDR_TEXT_MAX];
    struct writer peer = writer_init(from, sizeof from);
    const char *variant = json_string_value(json_object_get(changed->after, "@type"));
    log_text(line, "verb", changed->verb);
    log_text(line, "type", changed->type->shape.name);
    if (variant != NULL) {
        log_text(line, "variant", variant);
    }
    if (changed->id != NULL) {
        log_text(line, "id", changed->id);
    }
    if (name_of(changed) != NULL) {
        log_text(line, "name", name_of(changed));
    }
    log_text(line, "who", caller->name);
    log_text(line, "account", caller->account_id);
    put_netaddr(&peer, &caller->peer);
    log_slice(line, "from", writer_slice(&peer));
}

void audit_write(struct log *log, const struct api_caller *caller,
                 const struct api_changed *changed, uint64_t generation)
{
    char properties[AUDIT_PROPERTIES_MAX];
    struct writer names = writer_init(properties, sizeof properties);
    await_room(log);
    log->wall_ms = clock_wall_ms();
    struct log_line *line = log_begin(log, LOG_INFO, "object-changed");
    if (line == NULL) {
        return;
    }
    log_change(line, caller, changed);
    if (generation > 0) {
        log_u64(line, "generation", generation);
    }
    put_properties(&names, changed);
    if (names.len > 0) {
        log_slice(line, "properties", writer_slice(&names));
    }
    log_end(log, line);
}

void audit_forbidden(struct log *log, const struct api_caller *caller,
                     const struct api_changed *wanted, const char *reason)
{
    log->wall_ms = clock_wall_ms();
    struct log_line *line = log_begin_repeated(log, LOG_WARN, "change-forbidden");
    log_change(line, caller, wanted);
    log_text(line, "reason", reason);
    log_end(log, line);
}
