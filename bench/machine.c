#include "bench/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

/* The value of the first line "key : value" of a file. */
static json_t *line_of(const char *path, const char *key)
{
    char line[LINE_BYTES];
    json_t *found = NULL;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    while (found == NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            found = json_string(colon + 1 + strspn(colon + 1, " \t"));
        }
    }
    (void)fclose(file);
    return found;
}

static json_t *first_line(const char *path)
{
    char line[LINE_BYTES] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    bool read = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return read ? json_string(line) : NULL;
}

static void set(json_t *facts, const char *name, json_t *value)
{
    if (value != NULL) {
        (void)json_object_set_new(facts, name, value);
    }
}

json_t *machine_facts(void)
{
    json_t *facts = json_object();
    struct utsname name;
    struct sysinfo info;
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    set(facts, "cpu", line_of("/proc/cpuinfo", "model name"));
    set(facts, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    set(facts, "governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    if (uname(&name) == 0) {
        set(facts, "kernel", json_string(name.release));
        set(facts, "architecture", json_string(name.machine));
    }
    if (sysinfo(&info) == 0) {
        set(facts, "memory_bytes", json_integer((json_int_t)info.totalram * info.mem_unit));
    }
    if (gmtime_r(&now, &parts) != NULL && strftime(date, sizeof date, "%FT%TZ", &parts) > 0) {
        set(facts, "date", json_string(date));
    }
    set(facts, "ringmx", json_string(RINGMX_VERSION));
    return facts;
}
