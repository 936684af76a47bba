/* A log line as text. */
#include "core/log.h"
#include "core/log_field.h"
#include "core/text.h"
#include "core/timefmt.h"

static const char hex_digits[] = "0123456789abcdef";

static void put_hex_byte(struct writer *w, const char *before, uint8_t c)
{
    put_text(w, before);
    put_char(w, hex_digits[c >> 4]);
    put_char(w, hex_digits[c & 15]);
}

/* --- key=value ---------------------------------------------------------------------------------
 */

static bool is_plain(uint8_t c)
{
    return ascii_is_graph(c) && c != '"' && c != '\\' && c != '=';
}

static bool is_plain_value(struct slice value)
{
    bool plain = value.len > 0;
    for (size_t i = 0; i < value.len && plain; i++) {
        plain = is_plain(value.ptr[i]);
    }
    return plain;
}

static void put_quoted(struct writer *w, struct slice value, bool cut)
{
    put_char(w, '"');
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        if (is_plain(c) || c == ' ' || c == '=') {
            put_char(w, (char)c);
        } else {
            put_hex_byte(w, "\\x", c);
        }
    }
    put_text(w, cut ? "...\"" : "\"");
}

static void put_plain_text(struct writer *w, struct slice value, bool cut)
{
    if (!cut && is_plain_value(value)) {
        put_slice(w, value);
    } else {
        put_quoted(w, value, cut);
    }
}

static void put_plain_key(struct writer *w, struct slice key)
{
    put_char(w, ' ');
    put_slice(w, key);
    put_char(w, '=');
}

/* --- JSON: RFC 8259 ----------------------------------------------------------------------------
 */

static bool put_control(struct writer *w, struct slice character)
{
    if (!text_is_control(character)) {
        return false;
    }
    put_hex_byte(w, "\\u00", character.ptr[character.len - 1]);
    return true;
}

static void put_json_text(struct writer *w, struct slice value, bool cut)
{
    put_char(w, '"');
    while (value.len > 0) {
        uint8_t c = value.ptr[0];
        size_t len = text_character(value);
        if (len == 0) {
            put_hex_byte(w, "\\\\x", c); /* no JSON text can hold it */
        } else if (c == '"' || c == '\\') {
            put_char(w, '\\');
            put_char(w, (char)c);
        } else if (!put_control(w, slice_first(value, len))) {
            put_slice(w, slice_first(value, len));
        }
        value = slice_from(value, len > 0 ? len : 1);
    }
    put_text(w, cut ? "...\"" : "\"");
}

static void put_json_key(struct writer *w, struct slice key)
{
    put_text(w, ",\"");
    put_slice(w, key);
    put_text(w, "\":");
}

/* --- lines -------------------------------------------------------------------------------------
 */

static void put_fields(struct writer *w, const struct log_line *line, enum log_format format)
{
    static void (*const keys[])(struct writer *, struct slice) = {
        [LOG_KEY_VALUE] = put_plain_key, [LOG_JSON] = put_json_key};
    static void (*const texts[])(struct writer *, struct slice, bool) = {
        [LOG_KEY_VALUE] = put_plain_text, [LOG_JSON] = put_json_text};
    for (size_t at = 0; at < line->len;) {
        struct log_field field;
        uint64_t number;
        memcpy(&field, line->fields + at, sizeof field);
        const uint8_t *key = line->fields + at + sizeof field;
        const uint8_t *value = key + field.key_len;
        keys[format](w, slice_of(key, field.key_len));
        if (field.kind == LOG_FIELD_NUMBER) {
            memcpy(&number, value, sizeof number);
            put_decimal(w, number);
        } else {
            texts[format](w, slice_of(value, field.len), field.kind == LOG_FIELD_CUT);
        }
        at += sizeof field + field.key_len + field.len;
    }
}

static void put_plain_head(struct writer *w, const char *level, int core,
                           const struct log_line *line)
{
    put_rfc3339_ms(w, line->wall_ms);
    put_char(w, ' ');
    put_text(w, level);
    if (core >= 0) {
        put_text(w, " core=");
        put_decimal(w, (uint64_t)core);
    }
    put_char(w, ' ');
    put_text(w, line->event);
}

static void put_json_head(struct writer *w, const char *level, int core,
                          const struct log_line *line)
{
    put_text(w, "{\"time\":\"");
    put_rfc3339_ms(w, line->wall_ms);
    put_text(w, "\",\"level\":\"");
    put_text(w, level);
    if (core >= 0) {
        put_text(w, "\",\"core\":");
        put_decimal(w, (uint64_t)core);
        put_text(w, ",\"event\":\"");
    } else {
        put_text(w, "\",\"event\":\"");
    }
    put_text(w, line->event);
    put_char(w, '"');
}

void log_render(struct writer *w, const struct log_style *style, int core,
                const struct log_line *line)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    if (style->priority) {
        put_text(w, priorities[line->level]);
    }
    if (style->format == LOG_JSON) {
        put_json_head(w, names[line->level], core, line);
    } else {
        put_plain_head(w, names[line->level], core, line);
    }
    put_fields(w, line, style->format);
    put_text(w, style->format == LOG_JSON ? "}\n" : "\n");
}
