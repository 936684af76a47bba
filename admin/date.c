#include "admin/date.h"

#include "core/text.h"

enum { YEAR_MIN = 1970, YEAR_MAX = 3000, MS_PER_MINUTE = 60 * 1000, FRACTION_DIGITS_MAX = 9 };

/* Takes exactly count digits. */
static bool take_number(struct slice *text, unsigned count, int *out)
{
    int value = 0;
    if (text->len < count) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!ascii_is_digit(text->ptr[i])) {
            return false;
        }
        value = value * 10 + (text->ptr[i] - '0');
    }
    *text = slice_from(*text, count);
    *out = value;
    return true;
}

static bool take_char(struct slice *text, char c)
{
    if (text->len == 0 || ascii_lower(text->ptr[0]) != ascii_lower((uint8_t)c)) {
        return false;
    }
    *text = slice_from(*text, 1);
    return true;
}

static bool take_fraction(struct slice *text, int *out_ms)
{
    int scale = 100;
    unsigned digits = 0;
    *out_ms = 0;
    if (!take_char(text, '.')) {
        return true;
    }
    for (; text->len > 0 && ascii_is_digit(text->ptr[0]); digits++) {
        *out_ms += (text->ptr[0] - '0') * scale;
        scale /= 10;
        *text = slice_from(*text, 1);
    }
    return digits > 0 && digits <= FRACTION_DIGITS_MAX;
}

static bool take_zone(struct slice *text, int *out_minutes)
{
    *out_minutes = 0;
    if (take_char(text, 'Z')) {
        return true;
    }
    int sign = take_char(text, '+') ? 1 : take_char(text, '-') ? -1 : 0;
    int hours = 0;
    int minutes = 0;
    if (sign == 0 || !take_number(text, 2, &hours) || !take_char(text, ':') ||
        !take_number(text, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *out_minutes = sign * (hours * 60 + minutes);
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_of_month(int year, int month)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days since 1970-01-01. */
static int64_t days_since_epoch(int year, int month, int day)
{
    int before = year - 1;
    int64_t days = INT64_C(365) * (year - YEAR_MIN) + (before / 4 - 1969 / 4) -
                   (before / 100 - 1969 / 100) + (before / 400 - 1969 / 400);
    for (int m = 1; m < month; m++) {
        days += days_of_month(year, m);
    }
    return days + day - 1;
}

mx_err date_parse(int64_t *out_wall_ms, struct slice text)
{
    int year, month, day, hour, minute, second, ms, zone;
    bool good =
        take_number(&text, 4, &year) && take_char(&text, '-') && take_number(&text, 2, &month) &&
        take_char(&text, '-') && take_number(&text, 2, &day) && take_char(&text, 'T') &&
        take_number(&text, 2, &hour) && take_char(&text, ':') && take_number(&text, 2, &minute) &&
        take_char(&text, ':') && take_number(&text, 2, &second) && take_fraction(&text, &ms) &&
        take_zone(&text, &zone) && text.len == 0;
    if (!good) {
        return MX_ERR_SYNTAX;
    }
    if (year < YEAR_MIN || year > YEAR_MAX || month < 1 || month > 12 || day < 1 ||
        day > days_of_month(year, month) || hour > 23 || minute > 59 || second > 59) {
        return MX_ERR_RANGE;
    }
    int64_t minutes = days_since_epoch(year, month, day) * 24 * 60 + hour * 60 + minute - zone;
    int64_t wall_ms = minutes * MS_PER_MINUTE + second * 1000 + ms;
    if (wall_ms < 0) {
        return MX_ERR_RANGE;
    }
    *out_wall_ms = wall_ms;
    return MX_OK;
}
