#include "admin/password_strength.h"

#include "admin/password.h"
#include "core/text.h"

#include <string.h>

/* Costs in tenths of a bit. */
enum {
    WORD_COST = 80,   /* one of some three hundred, and how it is written */
    RUN_COST = 50,    /* where a sequence begins and which way it goes */
    REPEAT_COST = 40, /* of what, and how often */
    YEAR_COST = 70,   /* 1900 to 2099 */
    DATE_COST = 150,  /* a day of a century */
    DIGIT_COST = 33,
    LETTER_COST = 47,  /* of one case */
    OTHER_COST = 55,   /* capitals, signs */
    FOREIGN_COST = 65, /* a byte of a letter that is not ASCII */
    RUN_MIN = 3,
    REPEAT_MIN = 3,
};

/* From lists of leaked passwords and what administrators leave behind; at least four letters. */
static const char words[] =
    "password passwort passwd passphrase secret geheim admin administrator root toor master "
    "manager operator system server support helpdesk service sysadmin webmaster postmaster mail "
    "email mailserver smtp test testing tester user guest default changeme change letmein "
    "welcome willkommen hello hallo login logon access enter open sesame qwerty qwertz azerty "
    "asdf iloveyou love lover loveme monkey dragon tiger lion eagle shadow sunshine princess "
    "prinzessin angel baby babygirl flower butterfly summer winter spring autumn sommer herbst "
    "monday friday january football soccer baseball basketball hockey superman batman spiderman "
    "starwars pokemon minecraft killer hunter ranger trustno1 whatever freedom nothing please "
    "cookie cheese banana orange computer internet google apple samsung microsoft windows linux "
    "oracle cisco database michael jordan jennifer thomas robert daniel andrew joshua matthew "
    "jessica ashley charlie company office business private temp temporary demo backup ringmx "
    "stalwart 1qaz 2wsx 3edc 4rfv qazwsx zaq1 xsw2 february march april june july august "
    "september october november december tuesday wednesday thursday saturday sunday januar "
    "februar juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag "
    "sonntag alexander alexandra william richard joseph christian benjamin stefan andreas martin "
    "peter sandra maria anna david james john lisa sarah laura julia nicole hannah amanda "
    "anthony george michelle jasmine patrick steven family friend money house school student "
    "teacher music guitar player gaming happy lucky smile beautiful forever heaven jesus christ "
    "spirit blessed chicken rainbow diamond purple silver golden yellow black white green london "
    "berlin paris america germany deutschland england canada mexico liverpool arsenal chelsea "
    "barcelona juventus bayern schalke ferrari porsche mercedes mustang corvette yankees cowboys "
    "lakers chicago dallas boston phoenix matrix gandalf pikachu naruto ninja harley ginger "
    "pepper maggie buster tigger snoopy scooter elephant dolphin turtle horse kitten puppy";

static const char *const rows[] = {"1234567890", "qwertyuiop", "qwertzuiop", "azertyuiop",
                                   "asdfghjkl",  "yxcvbnm",    "zxcvbnm",    "wxcvbn"};

struct guess {
    uint8_t plain[PASSWORD_MAX]; /* lower case */
    uint8_t read[PASSWORD_MAX];  /* and signs as the letters that they stand for */
    size_t len;
};

static uint8_t letter_of(uint8_t c)
{
    static const char signs[] = "013457@$!+", letters[] = "oleastasit";
    const char *at = c ? strchr(signs, c) : NULL;
    return at ? (uint8_t)letters[at - signs] : c;
}

/* Also backwards. */
static bool is_word(const uint8_t *text, struct slice word)
{
    size_t same = 0;
    while (same < word.len && text[same] == word.ptr[word.len - 1 - same]) {
        same++;
    }
    return same == word.len || memcmp(text, word.ptr, word.len) == 0;
}

/* The longest word that stands at i. */
static size_t word_at(const struct guess *g, size_t i)
{
    size_t longest = 0;
    for (struct slice rest = SLICE_LITERAL(words); rest.len > 0;) {
        size_t len = slice_find(rest, ' ');
        struct slice word = slice_first(rest, len);
        if (len > longest && len <= g->len - i &&
            (is_word(g->read + i, word) || is_word(g->plain + i, word))) {
            longest = len;
        }
        rest = slice_from(rest, len < rest.len ? len + 1 : len);
    }
    return longest;
}

/* Whether b comes next to a, in the alphabet or on a keyboard, by the same step. */
static bool is_step(uint8_t a, uint8_t b, int step)
{
    if (b - a == step) {
        return true;
    }
    for (size_t i = 0; step != 0 && i < mx_countof(rows); i++) {
        const char *at = a ? strchr(rows[i], a) : NULL;
        ptrdiff_t to = at ? at - rows[i] + step : -1;
        if (to >= 0 && to < (ptrdiff_t)strlen(rows[i]) && rows[i][to] == b) {
            return true;
        }
    }
    return false;
}

/* "aaaa", "1234", "dcba", "asdfgh". */
static size_t run_at(const struct guess *g, size_t i)
{
    size_t longest = 0;
    for (int step = -1; step <= 1; step++) {
        size_t len = 1;
        while (i + len < g->len && is_step(g->plain[i + len - 1], g->plain[i + len], step)) {
            len++;
        }
        longest = mx_max_size(longest, len);
    }
    return longest >= RUN_MIN ? longest : 0;
}

/* The longest piece at i that was there before. */
static size_t repeat_at(const struct guess *g, size_t i)
{
    size_t longest = 0;
    for (size_t from = 0; from < i; from++) {
        size_t len = 0;
        while (i + len < g->len && g->plain[from + len] == g->plain[i + len]) {
            len++;
        }
        longest = mx_max_size(longest, len);
    }
    return longest >= REPEAT_MIN ? longest : 0;
}

static size_t year_at(const struct guess *g, size_t i)
{
    const uint8_t *p = g->plain + i;
    bool is_year = g->len - i >= 4 && (memcmp(p, "19", 2) == 0 || memcmp(p, "20", 2) == 0) &&
                   ascii_is_digit(p[2]) && ascii_is_digit(p[3]);
    return is_year ? 4 : 0;
}

static size_t digits_at(const struct guess *g, size_t i)
{
    size_t len = 0;
    while (len < 4 && i + len < g->len && ascii_is_digit(g->plain[i + len])) {
        len++;
    }
    return len;
}

/* "24.12.1987", "1987-12-24", "1/2/99". */
static size_t date_at(const struct guess *g, size_t i)
{
    size_t len = digits_at(g, i), sign = i + len;
    for (unsigned part = 1; len > 0 && part < 3; part++) {
        size_t at = i + len;
        bool apart = at < g->len && !ascii_is_alnum(g->plain[at]) && g->plain[at] == g->plain[sign];
        size_t digits = apart ? digits_at(g, at + 1) : 0;
        len = digits > 0 ? len + 1 + digits : 0;
    }
    return len;
}

static unsigned cost_of(uint8_t c)
{
    return c >= 0x80              ? FOREIGN_COST
           : ascii_is_digit(c)    ? DIGIT_COST
           : c >= 'a' && c <= 'z' ? LETTER_COST
                                  : OTHER_COST;
}

unsigned password_bits(struct slice text)
{
    static const struct {
        size_t (*length)(const struct guess *g, size_t i);
        unsigned cost;
    } kinds[] = {{word_at, WORD_COST},
                 {run_at, RUN_COST},
                 {repeat_at, REPEAT_COST},
                 {year_at, YEAR_COST},
                 {date_at, DATE_COST}};
    struct guess g = {.len = mx_min_size(text.len, PASSWORD_MAX)};
    unsigned cost = 0;
    for (size_t i = 0; i < g.len; i++) {
        g.plain[i] = ascii_lower(text.ptr[i]);
        g.read[i] = letter_of(g.plain[i]);
    }
    for (size_t i = 0; i < g.len;) {
        size_t len = 1;
        unsigned least = cost_of(text.ptr[i]);
        for (size_t k = 0; k < mx_countof(kinds); k++) {
            size_t found = kinds[k].length(&g, i);
            if (found > len) {
                len = found;
                least = kinds[k].cost;
            }
        }
        cost += least;
        i += len;
    }
    explicit_bzero(&g, sizeof g);
    return cost / 10;
}
