/* Passwords: which are taken, what is kept of them, and what is shown. */
#include "tests/admin/auth_support.h"

#include "admin/password.h"
#include "admin/password_strength.h"

static void check_base64(void)
{
    static const char *const good[][2] = {
        {"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmFy", "foobar"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9v====", "Zm-_", "Z g="};
    uint8_t buf[16];
    for (size_t i = 0; i < mx_countof(good); i++) {
        struct writer w = writer_init(buf, sizeof buf);
        CHECK(base64_decode(&w, slice_of_text(good[i][0])) == MX_OK);
        CHECK(slice_equal(writer_slice(&w), slice_of_text(good[i][1])));
        uint8_t text[32];
        struct writer encoded = writer_init(text, sizeof text);
        put_base64url(&encoded, slice_of_text(good[i][1]));
        w = writer_init(buf, sizeof buf);
        CHECK(base64url_decode(&w, writer_slice(&encoded)) == MX_OK);
        CHECK(slice_equal(writer_slice(&w), slice_of_text(good[i][1])));
    }
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct writer w = writer_init(buf, sizeof buf);
        CHECK(base64_decode(&w, slice_of_text(bad[i])) == MX_ERR_SYNTAX);
    }
    struct writer w = writer_init(buf, 2);
    CHECK(base64_decode(&w, SLICE_LITERAL("Zm9v")) == MX_ERR_LIMIT);
}

/* Hashes from elsewhere are taken by their form alone, and only such as libargon2 reads. */
static void check_forms(void)
{
#define SALT "$c29tZXNhbHQ"
#define HASH "$aaaaaaaaaaaaaaaaaaaaaQ"
    static const char *const good[] = {
        "$argon2id$v=19$m=8,t=1,p=1" SALT HASH,
        "$argon2id$v=16$m=64,t=3,p=8" SALT HASH,
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRz" HASH,
        "$argon2id$v=19$m=8,t=1,p=1" SALT "$aaaaaQ",
    };
    static const char *const bad[] = {
        "$argon2id$v=19$m=8,t=1,p=1" SALT,
        "$argon2id$v=19$m=8,t=1,p=1" SALT HASH "$",
        "$argon2id$v=19$m=8,t=1,p=1" SALT HASH "=",
        "$argon2id$v=19$m=8,t=1,p=1" SALT "$aaaaaR",  /* last bits */
        "$argon2id$v=19$m=8,t=1,p=1" SALT "$aaaaa",   /* no whole byte at the end */
        "$argon2id$v=19$m=8,t=1,p=1" SALT "$aaaa",    /* 3 bytes */
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbA" HASH, /* 7 bytes */
        "$argon2id$v=19$m=7,t=1,p=1" SALT HASH,
        "$argon2id$v=19$m=15,t=1,p=2" SALT HASH,
        "$argon2id$v=19$m=08,t=1,p=1" SALT HASH,
        "$argon2id$v=19$m= 8,t=1,p=1" SALT HASH,
        "$argon2id$v=19$m=+8,t=1,p=1" SALT HASH,
        "$argon2id$v=19$m=8,t=0,p=1" SALT HASH,
        "$argon2id$v=19$m=8,t=1,p=0" SALT HASH,
        "$argon2id$v=18$m=8,t=1,p=1" SALT HASH,
        "$argon2id$m=8,t=1,p=1" SALT HASH,
        "$argon2id$v=19$m=8,t=1" SALT HASH,
    };
    for (size_t i = 0; i < mx_countof(good); i++) {
        CHECK(password_hash_problem(slice_of_text(good[i])) == NULL);
    }
    for (size_t i = 0; i < mx_countof(bad); i++) {
        CHECK(password_hash_problem(slice_of_text(bad[i])) != NULL);
    }
#undef SALT
#undef HASH
}

static void check_passwords(void)
{
    char hash[PASSWORD_HASH_MAX];
    char again[PASSWORD_HASH_MAX];
    struct slice secret = SLICE_LITERAL(ANN_SECRET);
    CHECK(password_hash(hash, secret) == MX_OK && password_hash(again, secret) == MX_OK);
    CHECK(strcmp(hash, again) != 0); /* salted */
    CHECK(password_verify(hash, secret));
    CHECK(!password_verify(hash, SLICE_LITERAL("correct horse batterY")));
    CHECK(!password_verify(hash, SLICE_EMPTY));
    CHECK(password_hash_problem(slice_of_text(hash)) == NULL);
    /* What is checked for a name that is not there looks and costs like any other. */
    char decoy[PASSWORD_HASH_MAX];
    size_t parameters = (size_t)(strstr(hash, "p=1$") - hash) + 4;
    password_decoy(decoy);
    CHECK(strlen(decoy) == strlen(hash) && strncmp(decoy, hash, parameters) == 0);
    CHECK(password_hash_problem(slice_of_text(decoy)) == NULL);
    CHECK(!password_verify(decoy, secret) && !password_verify(decoy, SLICE_EMPTY));
    password_decoy(again);
    CHECK(strcmp(decoy, again) != 0);
    static const char *const bad[] = {
        "$argon2id$",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa",
        "$argon2id$v=19$m=65536,t=16,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < mx_countof(bad); i++) {
        CHECK(password_hash_problem(slice_of_text(bad[i])) != NULL);
        CHECK(!password_verify(bad[i], secret));
    }
    CHECK(password_problem(secret) == NULL);
    CHECK_HAS(password_problem(SLICE_LITERAL("short 7")), "too weak");
    CHECK_HAS(password_problem(SLICE_LITERAL("aaaaaaaaaaaa")), "too weak");
    CHECK_HAS(password_problem(SLICE_LITERAL("$6$salt$hash")), "not supported by ringmx");
    CHECK_HAS(password_problem(SLICE_LITERAL("{SSHA}c2FsdA==")), "not supported by ringmx");
    CHECK(password_problem(SLICE_LITERAL("{but a word} of mine")) == NULL);
    CHECK(password_problem(SLICE_LITERAL("$ 100 for a pass")) == NULL);
}

/* What is guessed first is refused, whatever is done to it; what is long enough is not. */
static void check_strength(void)
{
    static const char *const weak[] = {
        "password",       "Password1",  "p@ssw0rd!",    "PASSWORD2026",     "12345678",
        "1234567890",     "87654321",   "abcdefgh",     "qwertyuiop",       "QwErTy12",
        "asdfghjkl;",     "adminadmin", "letmein1",     "changeme1",        "summer2026",
        "Winter2025!",    "ringmx2026", "abcdabcdabcd", "admin123",         "test1234",
        "11112222333344", "iloveyou1",  "trustno1",     "passwortpasswort", "drowssap1",
        "1qaz2wsx",       "Liverpool1", "1ooprevil",    "12.05.1987",       "1987-12-24!"};
    static const char *const strong[] = {"correct horse battery",
                                         "x7Kq9zPw",
                                         "Tr0ub4dor&3",
                                         "eight words are more than enough",
                                         "password of the third helpdesk",
                                         "f3Lq-90Zt",
                                         "\xc3\xa4"
                                         "rgern \xc3\xbc"
                                         "bt sich leicht",
                                         "gcmkbranhbwppe2d",
                                         "24.12.1987, in the snow",
                                         "7-3-1-9 of twelve"};
    for (size_t i = 0; i < mx_countof(weak); i++) {
        CHECK_HAS(password_problem(slice_of_text(weak[i])), "too weak");
    }
    for (size_t i = 0; i < mx_countof(strong); i++) {
        CHECK(password_problem(slice_of_text(strong[i])) == NULL);
    }
    CHECK(password_bits(SLICE_EMPTY) == 0);
    CHECK(password_bits(SLICE_LITERAL("a")) == 4 && password_bits(SLICE_LITERAL("5")) == 3);
    uint8_t long_one[2 * PASSWORD_MAX];
    memset(long_one, 'x', sizeof(long_one));
    CHECK(password_bits(slice_of(long_one, sizeof(long_one))) == 5); /* one run */
}

static json_t *stored(struct world *w, const char *type, uint64_t id)
{
    json_t *object = NULL;
    CHECK(store_get(w->store, &object, type_of(type), id) == MX_OK);
    return object;
}

static char *secret_of(struct world *w)
{
    json_t *object = stored(w, "Account", w->ann);
    json_t *list = json_object_get(object, "credentials");
    const char *secret = json_string_value(json_object_get(json_object_get(list, "0"), "secret"));
    char *copy = strdup(secret ? secret : "");
    json_decref(object);
    return copy;
}

static void check_secrets(void)
{
    struct world w;
    world_open(&w);
    char *first = secret_of(&w);
    CHECK(password_is_hash(slice_of_text(first)));
    json_t *shown = NULL;
    CHECK(object_show(w.store, &shown, type_of("Account"), w.ann) == MX_OK);
    char *text = json_dumps(shown, 0);
    CHECK_HAS(text, "\"secret\": \"****\"");
    CHECK(!strstr(text, "argon2"));
    free(text);

    /* The mask, the whole list as shown, the same password: nothing changes. */
    uint64_t generation = store_generation(w.store);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"****\"}")), "");
    json_t *patch = json_object();
    json_object_set(patch, "credentials", json_object_get(shown, "credentials"));
    CHECK_TEXT(update(&w, "Account", w.ann, patch), "");
    CHECK_TEXT(
        update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", ANN_SECRET)), "");
    CHECK(store_generation(w.store) == generation);
    char *second = secret_of(&w);
    CHECK_TEXT(second, first);
    json_decref(shown);

    /* A hash is stored as it is. */
    char hash[PASSWORD_HASH_MAX];
    CHECK(password_hash(hash, SLICE_LITERAL("from elsewhere")) == MX_OK);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", hash)),
               "");
    char *third = secret_of(&w);
    CHECK_TEXT(third, hash);
    CHECK(try_basic(&w, "ann@example.org", "from elsewhere") == AUTH_OK);
    CHECK(try_basic(&w, "ann@example.org", hash) == AUTH_REFUSED);
    free(first);
    free(second);
    free(third);
    world_close(&w);
}

static void check_bad_secrets(void)
{
    static const char *const bad[][2] = {
        {"short", "is too weak: shorter than 8 bytes"},
        {"aaaaaaaaaaaaaa", "is too weak: fewer than 4 different characters"},
        {"$2b$12$abcdefgh", "is a hash of a kind that is not supported by ringmx; it takes "
                            "$argon2id$"},
        {"$argon2id$v=19$m=99999999,t=1,p=1$YWFhYWFhYWE$YWFhYQ",
         "is not an argon2id hash of at most 128 MiB, 16 passes and 8 lanes"},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < mx_countof(bad); i++) {
        char expected[300];
        snprintf(expected, sizeof expected, "invalidProperties credentials/0/secret: %s",
                 bad[i][1]);
        CHECK_TEXT(
            update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", bad[i][0])),
            expected);
    }
    CHECK_TEXT(create(&w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\","
                              "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":"
                              "\"****\"}}}",
                              id_text(w.domain).text),
                      NULL),
               "invalidProperties credentials/0/secret: stands for a secret, and there is none "
               "here yet");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"credentials/1\":{\"@type\":\"Password\",\"secret\":\"second "
                              "one\"}}")),
               "validationFailed credentials: has more than 1 members");
    CHECK_HAS(update(&w, "Account", w.ann,
                     json_of("{\"credentials/0\":{\"@type\":\"ApiKey\",\"description\":\"x\"}}")),
              "'ApiKey' is not supported by ringmx");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    world_close(&w);
}

/* Nothing on the disk has the password: neither the objects nor the log of changes. */
static void check_disk(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch,
               "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":"
               "\"example.org\"}}}\n"
               "{\"@type\":\"upsert\",\"object\":\"Account\",\"value\":{\"a\":{\"@type\":"
               "\"User\",\"name\":\"ann\",\"domainId\":\"#d\",\"credentials\":{\"0\":{\"@type\":"
               "\"Password\",\"secret\":\"" ANN_SECRET "\"}},\"roles\":{\"@type\":\"Admin\"}}}}\n",
               NULL);
    char *dump = dump_registry(&scratch);
    CHECK_HAS(dump, "$argon2id$");
    CHECK(!strstr(dump, ANN_SECRET));
    free(dump);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM account_access WHERE administrator = 1") == 1);
    scratch_close(&scratch);
}

int main(void)
{
    check_base64();
    check_forms();
    check_passwords();
    check_strength();
    check_secrets();
    check_bad_secrets();
    check_disk();
    return report("passwords");
}
