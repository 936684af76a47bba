#include "core/timefmt.h"

#include "core/text.h"

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

/* --- reading ------------------------------------------------------------------------------------
 */

static bool take_number(struct slice *text, unsigned digits, unsigned *out)
{
    *out = 0;
    if (text->len < digits) {
        return false;
    }
    for (unsigned i = 0; i < digits; i++) {
        if (!ascii_is_digit(text->ptr[i])) {
            return false;
        }
        *out = *out * 10 + (unsigned)(text->ptr[i] - '0');
    }
    *text = slice_from(*text, digits);
    return true;
}

static bool take_char(struct slice *text, char lower)
{
    if (text->len == 0 || ascii_lower(text->ptr[0]) != lower) {
        return false;
    }
    *text = slice_from(*text, 1);
    return true;
}

static bool take_fraction(struct slice *text, unsigned *out_ms)
{
    unsigned scale = 100;
    *out_ms = 0;
    if (text->len == 0 || text->ptr[0] != '.') {
        return true;
    }
    *text = slice_from(*text, 1);
    if (text->len == 0 || !ascii_is_digit(text->ptr[0])) {
        return false;
    }
    for (; text->len > 0 && ascii_is_digit(text->ptr[0]); scale /= 10) {
        *out_ms += (unsigned)(text->ptr[0] - '0') * scale;
        *text = slice_from(*text, 1);
    }
    return true;
}

static bool take_offset(struct slice *text, int64_t *out_ms)
{
    unsigned hours, minutes;
    *out_ms = 0;
    if (take_char(text, 'z')) {
        return true;
    }
    int sign = take_char(text, '-') ? -1 : 1;
    if (sign > 0 && !take_char(text, '+')) {
        return false;
    }
    if (!take_number(text, 2, &hours) || !take_char(text, ':') || !take_number(text, 2, &minutes) ||
        hours > 23 || minutes > 59) {
        return false;
    }
    *out_ms = sign * (int64_t)(hours * 60 + minutes) * 60000;
    return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01. */
static int64_t days_from_civil(const struct civil *c)
{
    unsigned year = c->year - (c->month <= 2);
    unsigned march_month = c->month > 2 ? c->month - 3 : c->month + 9;
    unsigned era = year / 400, year_of_era = year % 400;
    unsigned day_of_year = (153 * march_month + 2) / 5 + c->day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

mx_err rfc3339_parse(int64_t *out_wall_ms, struct slice text)
{
    struct civil c = {0};
    int64_t offset_ms;
    if (!take_number(&text, 4, &c.year) || !take_char(&text, '-') ||
        !take_number(&text, 2, &c.month) || !take_char(&text, '-') ||
        !take_number(&text, 2, &c.day) || !take_char(&text, 't') ||
        !take_number(&text, 2, &c.hour) || !take_char(&text, ':') ||
        !take_number(&text, 2, &c.minute) || !take_char(&text, ':') ||
        !take_number(&text, 2, &c.second) || !take_fraction(&text, &c.ms) ||
        !take_offset(&text, &offset_ms) || text.len > 0) {
        return MX_ERR_SYNTAX;
    }
    if (c.year < 1970 || c.year > 3000 || c.month < 1 || c.month > 12 || c.day < 1 ||
        c.day > days_in_month(c.year, c.month) || c.hour > 23 || c.minute > 59 || c.second > 60) {
        return MX_ERR_RANGE;
    }
    int64_t minutes = (days_from_civil(&c) * 24 + c.hour) * 60 + c.minute;
    *out_wall_ms = (minutes * 60 + c.second) * 1000 + c.ms - offset_ms;
    return *out_wall_ms < 0 ? MX_ERR_RANGE : MX_OK;
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
