/* Runs a target over files: what the fuzzers have found, and seeds, as an ordinary test. */
#include "fuzz.h"

#include <dirent.h>

enum { FILE_MAX = 1 << 20 };

static unsigned run_file(const char *path)
{
    static uint8_t bytes[FILE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        printf("cannot read %s\n", path);
        exit(1);
    }
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    /* Whole, and every shorter beginning: cheap variety. */
    for (size_t n = 0; n <= len; n++) {
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
    if (argc != 2) {
        printf("usage: %s CORPUS-FOLDER\n", argv[0]);
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
            files += run_file(path);
        }
    }
    closedir(dir);
    printf("%u files\n", files);
    return files > 0 ? 0 : 1;
}
