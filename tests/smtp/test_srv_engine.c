/* Every dialogue of tests/script/server: whole, split at every byte, byte by byte; answers at once
 * and late; with much and with little room for replies. All must look the same. */
#include "dialogue.inc"

#include <criterion/criterion.h>
#include <dirent.h>

enum { SCRIPT_BYTES_MAX = 1 << 18, SPLITS_MAX = 1500, OUT_BIG = 1 << 18 };

static void run_one(const char *file, const struct dialogue *d, struct dialogue_way way)
{
    const char *failure = dialogue_run(d, &way);
    cr_assert(failure == NULL, "%s: %s (first %zu, step %zu, room %zu, late %d): %s", file,
              dialogue_name(d), way.first, way.step, way.out_cap, way.late, failure);
}

static void run_all_ways(const char *file, const struct dialogue *d)
{
    size_t bytes = dialogue_input_bytes(d);
    size_t stride = bytes / SPLITS_MAX + 1;
    for (int late = 0; late < 2; late++) {
        run_one(file, d, (struct dialogue_way){bytes + 1, bytes + 1, OUT_BIG, late});
        for (size_t room = SRV_REPLY_MAX; room < SRV_REPLY_MAX + 80; room += 3) {
            run_one(file, d, (struct dialogue_way){bytes + 1, bytes + 1, room, late});
        }
        run_one(file, d, (struct dialogue_way){1, 1, OUT_BIG, late});
        run_one(file, d, (struct dialogue_way){1, 1, SRV_REPLY_MAX, late});
        run_one(file, d, (struct dialogue_way){2, 3, SRV_REPLY_MAX + 1, late});
        for (size_t first = 1; first < bytes; first += stride) {
            run_one(file, d, (struct dialogue_way){first, bytes, OUT_BIG, late});
        }
    }
}

static void run_script(const char *file, const char *path)
{
    static uint8_t text[SCRIPT_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    struct slice script = slice_of(text, fread(text, 1, sizeof text, f));
    cr_assert(script.len > 0 && script.len < sizeof text);
    fclose(f);
    struct dialogue *d;
    while ((d = dialogue_read(&script)) != NULL) {
        run_all_ways(file, d);
        dialogue_free(d);
    }
}

Test(srv_engine, scripts, .timeout = 240)
{
    static const char folder[] = SCRIPTS; /* tests/script/server */
    char path[2048];
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir, "%s", folder);
    unsigned scripts = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            run_script(entry->d_name, path);
            scripts++;
        }
    }
    closedir(dir);
    cr_assert(scripts > 0);
}
