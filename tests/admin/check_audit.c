/* Lines of the audit trail: what is in them, and what is cut. */
#include "tests/admin/support.h"

#include "admin/audit.h"

static struct log log_;

/* The line behind its time. */
static const char *line_of(const struct api_changed *changed, uint64_t generation)
{
    static char text[LOG_TEXT_BYTES];
    struct writer w = writer_init(text, sizeof text - 1);
    struct api_caller caller = {.name = "ann b\"c", .account_id = "e"};
    CHECK(netaddr_parse(&caller.peer, SLICE_LITERAL("2001:db8::7")) == MX_OK);
    audit_write(&log_, &caller, changed, generation);
    CHECK(log_take(&log_, &w) && text[w.len - 1] == '\n');
    text[w.len - 1] = '\0';
    return strstr(text, "object-changed");
}

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    CHECK(value != NULL);
    return value;
}

static void check_lines(void)
{
    json_t *before = parse("{\"name\":\"a\",\"description\":null,\"isEnabled\":true}");
    json_t *after = parse("{\"name\":\"a\",\"description\":\"secret\",\"isEnabled\":false}");
    struct api_changed changed = {.verb = "update",
                                  .type = reg_type_find(SLICE_LITERAL("Domain")),
                                  .id = "b",
                                  .before = before,
                                  .after = after};
    CHECK_TEXT(line_of(&changed, 7),
               "object-changed verb=update type=Domain id=b name=a who=\"ann b\\x22c\" account=e "
               "from=2001:db8::7 generation=7 properties=description,isEnabled");
    changed =
        (struct api_changed){.verb = "destroy", .type = changed.type, .id = "b", .before = before};
    CHECK_TEXT(line_of(&changed, 8),
               "object-changed verb=destroy type=Domain id=b name=a who=\"ann b\\x22c\" account=e "
               "from=2001:db8::7 generation=8");
    json_decref(before);
    json_decref(after);
}

/* More names than fit are cut between two of them, and the line says so. */
static void check_cut(void)
{
    json_t *given = json_object();
    for (unsigned i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "property%u", i);
        json_object_set_new(given, name, json_true());
    }
    struct api_changed changed = {.verb = "create",
                                  .type = reg_type_find(SLICE_LITERAL("Domain")),
                                  .id = "b",
                                  .after = given,
                                  .given = given};
    const char *list = strstr(line_of(&changed, 0), " properties=");
    CHECK(list != NULL && strlen(list) <= AUDIT_PROPERTIES_MAX + sizeof " properties=");
    const char *end = list + strlen(list) - 4;
    CHECK_TEXT(end, ",...");
    CHECK(strncmp(list, " properties=property0,property1,", 32) == 0);
    unsigned last;
    while (end[-1] != ',') {
        end--;
    }
    CHECK(sscanf(end, "property%u,...", &last) == 1 && last > 20);
    json_decref(given);
}

/* Who, what and why; nothing of what it was to be. */
static void check_forbidden(void)
{
    char text[LOG_TEXT_BYTES];
    struct writer w = writer_init(text, sizeof text - 1);
    struct api_caller caller = {.name = "desk", .account_id = "e"};
    CHECK(netaddr_parse(&caller.peer, SLICE_LITERAL("192.0.2.7")) == MX_OK);
    json_t *after = parse("{\"@type\":\"User\",\"name\":\"ann\",\"description\":\"secret\"}");
    struct api_changed wanted = {
        .verb = "create", .type = reg_type_find(SLICE_LITERAL("Account")), .after = after};
    audit_forbidden(&log_, &caller, &wanted, "it is not his");
    CHECK(log_take(&log_, &w) && text[w.len - 1] == '\n');
    text[w.len - 1] = '\0';
    CHECK_HAS(text, " warn ");
    CHECK_TEXT(strstr(text, "change-forbidden"),
               "change-forbidden verb=create type=Account variant=User name=ann who=desk account=e "
               "from=192.0.2.7 reason=\"it is not his\"");
    for (unsigned i = 0; i < LOG_LINES / 2; i++) { /* within few seconds */
        audit_forbidden(&log_, &caller, &wanted, "it is not his");
    }
    unsigned lines = 0;
    while (w = writer_init(text, sizeof text), log_take(&log_, &w)) {
        lines++;
    }
    CHECK(lines >= LOG_REPEATS_MAX - 1 && lines < LOG_LINES / 2);
    json_decref(after);
}

int main(void)
{
    CHECK(log_init(&log_, -1, LOG_INFO) == MX_OK);
    check_lines();
    check_cut();
    check_forbidden();
    log_fini(&log_);
    return report("audit");
}
