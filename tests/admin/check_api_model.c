/* Random set calls, good and bad, on domains and accounts, against a simple model: every entry of
 * every answer, and after each call everything that is stored. The seed is printed; an argument
 * repeats it. */
#include "tests/admin/api_support.h"

#include "io/random.h"

enum {
    CALLS = 1500,
    DOMAINS_MAX = 64,
    ACCOUNTS_MAX = 64,
    NAMES = 12,  /* few, so that they collide */
    ENTRIES = 4, /* per verb and call */
};

static uint64_t state;

static unsigned pick(unsigned count)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 11) % count;
}

typedef char id_text[OBJECT_ID_TEXT_MAX + 1];

struct domain {
    id_text id;      /* empty: free place */
    int name, alias; /* alias -1: none */
    bool enabled;
};
struct account {
    id_text id;
    int name;
    id_text domain;
};

static struct domain domains[DOMAINS_MAX];
static struct account accounts[ACCOUNTS_MAX];
static struct api_bed bed;

/* The model's rules ------------------------------------------------------------------------ */

static bool name_taken(int name, const char *but)
{
    for (int i = 0; i < DOMAINS_MAX; i++) {
        if (domains[i].id[0] && strcmp(domains[i].id, but) != 0 &&
            (domains[i].name == name || domains[i].alias == name)) {
            return true;
        }
    }
    return false;
}

static struct domain *find_domain(const char *id)
{
    for (int i = 0; i < DOMAINS_MAX; i++) {
        if (domains[i].id[0] && strcmp(domains[i].id, id) == 0) {
            return &domains[i];
        }
    }
    return NULL;
}

static struct account *find_account(const char *id)
{
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        if (accounts[i].id[0] && strcmp(accounts[i].id, id) == 0) {
            return &accounts[i];
        }
    }
    return NULL;
}

static bool address_taken(int name, const char *domain, const char *but)
{
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        if (accounts[i].id[0] && strcmp(accounts[i].id, but) != 0 && accounts[i].name == name &&
            strcmp(accounts[i].domain, domain) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_used(const char *domain)
{
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        if (accounts[i].id[0] && strcmp(accounts[i].domain, domain) == 0) {
            return true;
        }
    }
    return false;
}

/* Where a wanted state of a domain breaks a rule; NULL = fine. */
static const char *domain_error(const struct domain *wanted)
{
    bool bad = name_taken(wanted->name, wanted->id) || wanted->alias == wanted->name ||
               (wanted->alias >= 0 && name_taken(wanted->alias, wanted->id));
    return bad ? "primaryKeyViolation" : NULL;
}

static const char *account_error(const struct account *wanted)
{
    return !find_domain(wanted->domain)                              ? "invalidForeignKey"
           : address_taken(wanted->name, wanted->domain, wanted->id) ? "primaryKeyViolation"
                                                                     : NULL;
}

/* One call: its text and what has to come of it -------------------------------------------- */

struct entry {
    char key[32];
    const char *error; /* type of the SetError; NULL = done */
    void *place;       /* a create: where its id goes */
};
struct call {
    FILE *text;
    struct entry entries[3][ENTRIES * 2];
    int counts[3];
};

static struct entry *add_entry(struct call *call, int verb, const char *key, const char *error)
{
    struct entry *entry = &call->entries[verb][call->counts[verb]++];
    snprintf(entry->key, sizeof(entry->key), "%.31s", key);
    entry->error = error;
    entry->place = NULL;
    return entry;
}

/* An existing id, mostly; else one that is not there or none at all. */
static const char *some_id(bool of_domains)
{
    static const char *const wrong[] = {"zzzz", "b", "not an id", "4", "singleton", ""};
    for (int tries = 0; pick(8) && tries < 20; tries++) {
        unsigned at = pick(DOMAINS_MAX);
        const char *id = of_domains ? domains[at].id : accounts[at].id;
        if (id[0]) {
            return id;
        }
    }
    return wrong[pick(mx_countof(wrong))];
}

static bool used_key(const struct call *call, int verb, const char *key)
{
    for (int i = 0; i < call->counts[verb]; i++) {
        if (strcmp(call->entries[verb][i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Something that no object takes, and the kind of its refusal. */
static const char *bad_member(const char **out_error)
{
    static const char *const cases[][2] = {
        {"\"isEnabled\":1", "invalidPatch"},      {"\"colour\":\"red\"", "invalidPatch"},
        {"\"description\":\"\"", "invalidPatch"}, {"\"description\":5", "invalidPatch"},
        {"\"aliases\":7", "invalidPatch"},
    };
    unsigned at = pick(mx_countof(cases));
    *out_error = cases[at][1];
    return cases[at][0];
}

/* The place stays reserved by a mark until the answer brings the id. */
static void make_domain(struct call *call, int number)
{
    struct domain wanted = {
        .name = (int)pick(NAMES), .alias = pick(2) ? (int)pick(NAMES) : -1, .enabled = pick(2)};
    const char *error = NULL;
    char key[16];
    int at = 0;
    while (at < DOMAINS_MAX - 1 && domains[at].id[0]) {
        at++;
    }
    snprintf(key, sizeof(key), "n%d", number);
    fprintf(call->text, "%s\"%s\":{", number ? "," : "", key);
    if (pick(6) == 0) {
        fprintf(call->text, "\"name\":\"a.example\",%s}", bad_member(&error));
        add_entry(call, 0, key, error);
        return;
    }
    fprintf(call->text, "\"name\":\"D%d.example\",\"isEnabled\":%s", wanted.name,
            wanted.enabled ? "true" : "false");
    if (wanted.alias >= 0) {
        fprintf(call->text, ",\"aliases\":{\"d%d.EXAMPLE\":true}", wanted.alias);
    }
    fprintf(call->text, "}");
    struct entry *entry = add_entry(call, 0, key, domain_error(&wanted));
    if (!entry->error) {
        domains[at] = wanted;
        snprintf(domains[at].id, sizeof(id_text), "?%d", number);
        entry->place = domains[at].id;
    }
}

static void make_account(struct call *call, int number)
{
    struct account wanted = {.name = (int)pick(NAMES)};
    const char *error = NULL;
    char key[16];
    int at = 0;
    while (at < ACCOUNTS_MAX - 1 && accounts[at].id[0]) {
        at++;
    }
    snprintf(key, sizeof(key), "n%d", number);
    fprintf(call->text, "%s\"%s\":{\"@type\":\"User\",", number ? "," : "", key);
    if (pick(6) == 0 || accounts[at].id[0]) {
        fprintf(call->text, "\"name\":\"a\",\"domainId\":\"b\",%s}", bad_member(&error));
        add_entry(call, 0, key, error);
        return;
    }
    const char *domain = some_id(true);
    uint64_t id;
    snprintf(wanted.domain, sizeof(wanted.domain), "%s", domain);
    fprintf(call->text, "\"name\":\"U%d\",\"domainId\":\"%s\"}", wanted.name, domain);
    /* A text that is no id is of the wrong form. */
    error = object_id_parse(&id, slice_of_text(domain)) ? "invalidPatch" : account_error(&wanted);
    struct entry *entry = add_entry(call, 0, key, error);
    if (!error) {
        accounts[at] = wanted;
        snprintf(accounts[at].id, sizeof(id_text), "?%d", number);
        entry->place = accounts[at].id;
    }
}

static void change_domain(struct call *call, const char *id, bool bad)
{
    struct domain *domain = find_domain(id);
    const char *error = NULL;
    if (bad) {
        fprintf(call->text, "%s", bad_member(&error));
        add_entry(call, 1, id, domain ? error : "notFound");
        return;
    }
    struct domain wanted = domain ? *domain : (struct domain){0};
    wanted.name = (int)pick(NAMES);
    wanted.enabled = pick(2);
    fprintf(call->text, "\"name\":\"d%d.example\",\"isEnabled\":%s", wanted.name,
            wanted.enabled ? "true" : "false");
    struct entry *entry = add_entry(call, 1, id, domain ? domain_error(&wanted) : "notFound");
    if (!entry->error) {
        *domain = wanted;
    }
}

static void change_account(struct call *call, const char *id, bool bad)
{
    struct account *account = find_account(id);
    const char *error = NULL;
    if (bad) {
        fprintf(call->text, "%s", bad_member(&error));
        add_entry(call, 1, id, account ? error : "notFound");
        return;
    }
    struct account wanted = account ? *account : (struct account){0};
    wanted.name = (int)pick(NAMES);
    fprintf(call->text, "\"name\":\"u%d\"", wanted.name);
    struct entry *entry = add_entry(call, 1, id, account ? account_error(&wanted) : "notFound");
    if (!entry->error) {
        *account = wanted;
    }
}

static void destroy(struct call *call, bool of_domains, const char *id)
{
    struct domain *domain = of_domains ? find_domain(id) : NULL;
    struct account *account = of_domains ? NULL : find_account(id);
    const char *error = !domain && !account     ? "notFound"
                        : domain && is_used(id) ? "objectIsLinked"
                                                : NULL;
    add_entry(call, 2, id, error);
    if (!error && domain) {
        domain->id[0] = 0;
    } else if (!error) {
        account->id[0] = 0;
    }
}

/* Text and model go in the order in which the call is worked off. */
static void build(struct call *call, bool of_domains)
{
    char doomed[ENTRIES][32];
    int doomed_count = (int)pick(ENTRIES);
    fprintf(call->text, "{\"create\":{");
    for (int i = 0, count = (int)pick(ENTRIES); i < count; i++) {
        of_domains ? make_domain(call, i) : make_account(call, i);
    }
    for (int i = 0; i < doomed_count; i++) {
        const char *id = some_id(of_domains);
        snprintf(doomed[i], sizeof(doomed[i]), "%s", id[0] == '?' ? "zzz" : id);
    }
    fprintf(call->text, "},\"update\":{");
    for (int i = 0, count = (int)pick(ENTRIES); i < count; i++) {
        const char *id = some_id(of_domains);
        uint64_t number;
        bool goes = false;
        if (id[0] == '?' || used_key(call, 1, id)) {
            continue;
        }
        for (int k = 0; k < doomed_count; k++) {
            goes = goes || strcmp(doomed[k], id) == 0;
        }
        char key[32];
        snprintf(key, sizeof(key), "%s", id);
        fprintf(call->text, "%s\"%s\":{", call->counts[1] ? "," : "", key);
        if (goes) {
            bool parses = object_id_parse(&number, slice_of_text(key)) == MX_OK;
            add_entry(call, 1, key, parses ? "willDestroy" : "notFound");
        } else if (of_domains) {
            change_domain(call, key, pick(5) == 0);
        } else {
            change_account(call, key, pick(5) == 0);
        }
        fprintf(call->text, "}");
    }
    fprintf(call->text, "},\"destroy\":[");
    for (int i = 0; i < doomed_count; i++) {
        fprintf(call->text, "%s\"%s\"", i ? "," : "", doomed[i]);
        if (!used_key(call, 2, doomed[i])) {
            destroy(call, of_domains, doomed[i]);
        }
    }
    fprintf(call->text, "]}");
}

/* Comparing -------------------------------------------------------------------------------- */

static bool is_done(const json_t *reply, int verb, const char *key)
{
    static const char *const names[] = {"created", "updated", "destroyed"};
    const json_t *done = json_object_get(reply, names[verb]);
    size_t index;
    json_t *id;
    if (verb < 2) {
        return json_object_get(done, key) != NULL;
    }
    json_array_foreach((json_t *)(uintptr_t)done, index, id)
    {
        if (strcmp(json_string_value(id), key) == 0) {
            return true;
        }
    }
    return false;
}

static void compare_entry(const json_t *reply, int verb, struct entry *entry, const char *args)
{
    static const char *const names[] = {"notCreated", "notUpdated", "notDestroyed"};
    const json_t *error = json_object_get(json_object_get(reply, names[verb]), entry->key);
    const char *type = json_string_value(json_object_get(error, "type"));
    bool done = is_done(reply, verb, entry->key);
    bool good = entry->error ? type && !done && strcmp(type, entry->error) == 0 : done && !error;
    if (!good) {
        char *text = json_dumps(reply, 0);
        failures++;
        fprintf(stderr, "entry %s: expected %s, was %s\n%s\n%s\n", entry->key,
                entry->error ? entry->error : "success", type ? type : "success", args, text);
        free(text);
    }
    if (entry->place) {
        const json_t *made = json_object_get(json_object_get(reply, "created"), entry->key);
        const char *id = json_string_value(json_object_get(made, "id"));
        /* An account could be made and destroyed only by its id: not in the same call. */
        snprintf(entry->place, sizeof(id_text), "%s", id ? id : "");
    }
}

static void compare_stored(void)
{
    json_t *result = bed_call(&bed, "x:Domain/get", "{}");
    json_t *list = json_object_get(json_array_get(result, 1), "list");
    size_t index;
    size_t count = 0;
    json_t *object;
    json_array_foreach(list, index, object)
    {
        const struct domain *domain = find_domain(json_string_value(json_object_get(object, "id")));
        char name[32];
        char alias[32];
        CHECK(domain != NULL);
        if (domain) {
            json_t *aliases = json_object_get(object, "aliases");
            snprintf(name, sizeof(name), "d%d.example", domain->name);
            snprintf(alias, sizeof(alias), "d%d.example", domain->alias);
            CHECK_TEXT(json_string_value(json_object_get(object, "name")), name);
            CHECK(json_is_true(json_object_get(object, "isEnabled")) == domain->enabled);
            CHECK(json_object_size(aliases) == (domain->alias >= 0));
            CHECK(domain->alias < 0 || json_object_get(aliases, alias));
        }
    }
    for (int i = 0; i < DOMAINS_MAX; i++) {
        count += domains[i].id[0] != 0;
    }
    CHECK(count == json_array_size(list));
    json_decref(result);
    result = bed_call(&bed, "x:Account/get", "{}");
    list = json_object_get(json_array_get(result, 1), "list");
    json_array_foreach(list, index, object)
    {
        const struct account *account =
            find_account(json_string_value(json_object_get(object, "id")));
        char address[64];
        CHECK(account != NULL);
        if (account) {
            const struct domain *domain = find_domain(account->domain);
            snprintf(address, sizeof(address), "u%d@d%d.example", account->name,
                     domain ? domain->name : -1);
            CHECK_TEXT(json_string_value(json_object_get(object, "emailAddress")), address);
        }
    }
    count = 0;
    for (int i = 0; i < ACCOUNTS_MAX; i++) {
        count += accounts[i].id[0] != 0;
    }
    CHECK(count == json_array_size(list));
    json_decref(result);
}

static void run_call(void)
{
    struct call call = {0};
    char *args = NULL;
    size_t len = 0;
    bool of_domains = pick(2);
    call.text = open_memstream(&args, &len);
    build(&call, of_domains);
    fclose(call.text);
    json_t *result = bed_call(&bed, of_domains ? "x:Domain/set" : "x:Account/set", args);
    for (int verb = 0; verb < 3; verb++) {
        for (int i = 0; i < call.counts[verb]; i++) {
            compare_entry(json_array_get(result, 1), verb, &call.entries[verb][i], args);
        }
    }
    json_decref(result);
    free(args);
    compare_stored();
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : random_u64() | 1;
    printf("seed %llu\n", (unsigned long long)seed);
    state = seed;
    bed_open(&bed);
    for (int i = 0; i < CALLS && failures == 0; i++) {
        run_call();
    }
    bed_close(&bed);
    return report("check_api_model");
}
