/* Runs a target over files: what the fuzzers have found, and seeds, as an ordinary test. */
#include "fuzz.h"

#include <dirent.h>

enum { FILE_MAX = 1 << 20 };

static unsigned run_file(const char *path, size_t every)
{
    static uint8_t bytes[FILE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        printf("cannot read %s\n", path);
        exit(1);
    }
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    /* Whole, and shorter beginnings: cheap variety. */
    for (size_t n = len % every; n <= len; n += every) {
        uint8_t *copy =
            malloc(n > 0 ? n : 1); /* exact size, so that a sanitizer sees every byte too far */
        memcpy(copy, bytes, n);
        (void)LLVMFuzzerTestOneInput(copy, n);
        free(copy);
    }
    return 1;
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    size_t every = argc == 3 ? strtoul(argv[2], NULL, 10) : 1; /* how many beginnings */
    if (argc < 2 || argc > 3 || every == 0) {
        printf("usage: %s CORPUS-FOLDER [ONE-IN-SO-MANY]\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (dir == NULL) {
        printf("cannot open %s\n", argv[1]);
        return 1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[2048];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
            files += run_file(path, every);
        }
    }
    closedir(dir);
    printf("%u files\n", files);
    return files > 0 ? 0 : 1;
}
