/* Gives the header of a journal segment another format version, with the checksum that goes with it
 * (io/journal_format.h: both are in their places in every version): newer_segment FILE VERSION */
#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION_AT = 8, SUMMED_BYTES = 40 };

int main(int argc, char **argv)
{
    uint8_t header[SUMMED_BYTES + sizeof(uint64_t)];
    FILE *file = argc == 3 ? fopen(argv[1], "r+b") : NULL;
    if (file == NULL || fread(header, sizeof header, 1, file) != 1) {
        fprintf(stderr, "usage: newer_segment FILE VERSION\n");
        return 1;
    }
    uint16_t version = (uint16_t)strtoul(argv[2], NULL, 10);
    memcpy(header + VERSION_AT, &version, sizeof version);
    uint64_t sum = hash_checksum(slice_of(header, SUMMED_BYTES));
    memcpy(header + SUMMED_BYTES, &sum, sizeof sum);
    bool written = fseek(file, 0, SEEK_SET) == 0 && fwrite(header, sizeof header, 1, file) == 1;
    return fclose(file) == 0 && written ? 0 : 1;
}
