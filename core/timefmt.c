#include "core/timefmt.h"

struct civil {
    unsigned year, month, day, weekday, hour, minute, second, ms; /* month 1..12, weekday 0=Sun */
};

/* Days since 1970-01-01 to the proleptic Gregorian date, counting years from March. */
static struct civil civil_from_ms(int64_t wall_ms)
{
    uint64_t ms = wall_ms < 0 ? 0 : (uint64_t)wall_ms;
    uint64_t days = ms / 86400000;
    struct civil c = {.weekday = (unsigned)((days + 4) % 7), .ms = (unsigned)(ms % 1000)};
    unsigned second_of_day = (unsigned)(ms / 1000 % 86400);
    c.hour = second_of_day / 3600;
    c.minute = second_of_day / 60 % 60;
    c.second = second_of_day % 60;

    uint64_t z = days + 719468; /* from 0000-03-01 */
    uint64_t era = z / 146097;
    unsigned day_of_era = (unsigned)(z % 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    c.day = day_of_year - (153 * march_month + 2) / 5 + 1;
    c.month = march_month < 10 ? march_month + 3 : march_month - 9;
    c.year = (unsigned)(era * 400) + year_of_era + (c.month <= 2);
    return c;
}

static void put_time(struct writer *w, const struct civil *c)
{
    put_decimal_padded(w, c->hour, 2);
    put_char(w, ':');
    put_decimal_padded(w, c->minute, 2);
    put_char(w, ':');
    put_decimal_padded(w, c->second, 2);
}

void put_rfc3339_ms(struct writer *w, int64_t wall_ms)
{
    struct civil c = civil_from_ms(wall_ms);
    put_decimal_padded(w, c.year, 4);
    put_char(w, '-');
    put_decimal_padded(w, c.month, 2);
    put_char(w, '-');
    put_decimal_padded(w, c.day, 2);
    put_char(w, 'T');
    put_time(w, &c);
    put_char(w, '.');
    put_decimal_padded(w, c.ms, 3);
    put_char(w, 'Z');
}

/* "Sun, 6 Nov 1994 08:49:37", the day with at least day_width digits. */
static void put_date_time(struct writer *w, int64_t wall_ms, unsigned day_width)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil c = civil_from_ms(wall_ms);
    put_text(w, days[c.weekday]);
    put_text(w, ", ");
    put_decimal_padded(w, c.day, day_width);
    put_char(w, ' ');
    put_text(w, months[c.month - 1]);
    put_char(w, ' ');
    put_decimal_padded(w, c.year, 4);
    put_char(w, ' ');
    put_time(w, &c);
}

void put_rfc5322(struct writer *w, int64_t wall_ms)
{
    put_date_time(w, wall_ms, 1);
    put_text(w, " +0000");
}

void put_imf_fixdate(struct writer *w, int64_t wall_ms)
{
    put_date_time(w, wall_ms, 2);
    put_text(w, " GMT");
}
