/* Every function: its results, known when it is loaded and worked out when it runs. */
#include "route/expr_support.h"
#include "route/expr_tables.h"

static const char *const cases[][2] = {
    {"is_local_domain('example.org')", "1"},
    {"is_local_domain(sender)", "1"},
    {"is_local_domain('other')", "0"},
    {"is_local_address(sender)", "1"},
    {"is_local_address(rcpt)", "0"},
    {"is_email('a@b')", "1"},
    {"is_email('@b')", "0"},
    {"is_email('a@')", "0"},
    {"is_email('ab')", "0"},
    {"email_part(rcpt, 'local')", "'Bob+News'"},
    {"email_part('a@b@c', 'domain')", "'c'"},
    {"email_part('a@b@c', 'local')", "'a@b'"},
    {"email_part('none', 'local')", "''"},
    {"is_ip_addr('192.0.2.1')", "1"},
    {"is_ip_addr('2001:db8::1')", "1"},
    {"is_ip_addr('example.org')", "0"},
    {"is_ipv4_addr('192.0.2.1')", "1"},
    {"is_ipv4_addr('::1')", "0"},
    {"is_ipv6_addr('::1')", "1"},
    {"is_ipv6_addr('192.0.2.1')", "0"},
    {"is_ip_in_cidr('192.0.2.7', '192.0.2.0/24')", "1"},
    {"is_ip_in_cidr('192.0.3.7', '192.0.2.0/24')", "0"},
    {"is_ip_in_cidr('x', '192.0.2.0/24')", "0"},
    {"is_ip_in_cidr('192.0.2.7', '192.0.2.7')", "1"},
    {"is_ip_in_cidr('192.0.2.7', rcpt)", "0"},
    {"is_ip_in_cidr('192.0.2.7', substring(rcpt, 0, 0) + '192.0.2.0/33')", "0"},
    {"is_ip_in_cidr('192.0.2.7', substring(rcpt, 0, 0) + '192.0.2.0/32')", "0"},
    {"is_ip_in_cidr('192.0.2.7', substring(rcpt, 0, 0) + '192.0.2.0/24')", "1"},
    {"ip_reverse_name('192.0.2.1')", "'1.2.0.192'"},
    {"ip_reverse_name('2001:db8::1')",
     "'1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2'"},
    {"ip_reverse_name('x')", "''"},
    {"matches('^B', rcpt)", "1"},
    {"matches('^b', rcpt)", "0"},
    {"matches('(?i)^b', rcpt)", "1"},
    {"matches('\\.org$', rcpt)", "1"},
    {"matches('', '')", "1"},
    {"is_empty('')", "1"},
    {"is_empty('a')", "0"},
    {"is_empty([])", "1"},
    {"is_empty([1])", "0"},
    {"is_empty(0)", "0"},
    {"is_number(1)", "1"},
    {"is_number(1.5)", "1"},
    {"is_number('-1.5')", "1"},
    {"is_number('1x')", "0"},
    {"is_number('-')", "0"},
    {"is_number('')", "0"},
    {"is_number([1])", "0"},
    {"if_then(1 > 2, 'a', 'b')", "'b'"},
    {"if_then(size, 'a', 'b')", "'a'"},
    {"len('abc')", "3"},
    {"len([1, 2])", "2"},
    {"len(100)", "3"},
    {"len(relaxed)", "7"},
    {"count_chars('gr\xc3\xbc\xc3\x9f')", "4"},
    {"count_spaces(' a\tb ')", "3"},
    {"count_uppercase('aBC')", "2"},
    {"count_lowercase('aBC')", "1"},
    {"to_lowercase('AbC1')", "'abc1'"},
    {"to_uppercase('aBc1')", "'ABC1'"},
    {"to_lowercase('')", "''"},
    {"is_lowercase('ab1')", "1"},
    {"is_lowercase('aB')", "0"},
    {"is_uppercase('AB1')", "1"},
    {"is_uppercase('aB')", "0"},
    {"has_digits('a1')", "1"},
    {"has_digits('a')", "0"},
    {"trim(' \ta\n')", "'a'"},
    {"trim_start(' a ')", "'a '"},
    {"trim_end(' a ')", "' a'"},
    {"trim('  ')", "''"},
    {"contains('abc', 'bc')", "1"},
    {"contains('abc', 'cb')", "0"},
    {"contains('abc', '')", "1"},
    {"contains('', 'a')", "0"},
    {"contains(['a', 12], '12')", "1"},
    {"contains(['a', 'bc'], 'b')", "0"},
    {"contains(recipients, 'b@y')", "1"},
    {"contains_ignore_case('aBC', 'bc')", "1"},
    {"contains_ignore_case('aBC', 'ac')", "0"},
    {"contains_ignore_case(['A', 'B'], 'b')", "1"},
    {"contains_ignore_case(['A', 'B'], 'c')", "0"},
    {"eq_ignore_case('Ab', 'aB')", "1"},
    {"eq_ignore_case('Ab', 'aBc')", "0"},
    {"starts_with('abc', 'ab')", "1"},
    {"starts_with('abc', 'bc')", "0"},
    {"starts_with('a', 'ab')", "0"},
    {"ends_with('abc', 'bc')", "1"},
    {"ends_with('abc', 'ab')", "0"},
    {"strip_prefix('abc', 'a')", "'bc'"},
    {"strip_prefix('abc', 'b')", "''"},
    {"strip_suffix('abc', 'c')", "'ab'"},
    {"strip_suffix('abc', 'b')", "''"},
    {"substring('abcdef', 2, 3)", "'cde'"},
    {"substring('abc', 1, 9)", "'bc'"},
    {"substring('abc', 5, 1)", "''"},
    {"substring('abc', -1, 2)", "'ab'"},
    {"substring('gr\xc3\xbc\xc3\x9f', 2, 1)", "'\xc3\xbc'"},
    {"lines('a\nb\r\nc')", "['a', 'b', 'c']"},
    {"lines('a\n\n')", "['a', '']"},
    {"lines('')", "[]"},
    {"split('a,b,,c', ',')", "['a', 'b', '', 'c']"},
    {"split('abc', '')", "['abc']"},
    {"split('', ',')", "['']"},
    {"rsplit('a,b,,c', ',')", "['c', '', 'b', 'a']"},
    {"rsplit('abc', '')", "['abc']"},
    {"split_n('a,b,c', ',', 2)", "['a', 'b,c']"},
    {"split_n('a,b,c', ',', 9)", "['a', 'b', 'c']"},
    {"split_n('a,b,c', ',', 0)", "[]"},
    {"split_n('a,b,c', ',', -1)", "[]"},
    {"split_once('a,b,c', ',')", "['a', 'b,c']"},
    {"split_once('abc', ',')", "''"},
    {"split_once('abc', '')", "''"},
    {"rsplit_once('a,b,c', ',')", "['a,b', 'c']"},
    {"rsplit_once('abc', ',')", "''"},
    {"split_words(' one two-three  f0ur gr\xc3\xbc\xc3\x9f')",
     "['one', 'f0ur', 'gr\xc3\xbc\xc3\x9f']"},
    {"split_words('')", "[]"},
    {"count([1, 2])", "2"},
    {"count([])", "0"},
    {"count('')", "0"},
    {"count('a')", "1"},
    {"count(0)", "1"},
    {"sort([3, 1, 2], true)", "[1, 2, 3]"},
    {"sort([3, 1, 2], false)", "[3, 2, 1]"},
    {"sort(['b', 'a', 'B'], 1)", "['B', 'a', 'b']"},
    {"sort('x', 1)", "['x']"},
    {"dedup([1, '1', 2, 1, 'a', 'a'])", "[1, 2, 'a']"},
    {"dedup('a')", "['a']"},
    {"winnow(['', 'a', 0, ''])", "['a', 0]"},
    {"is_intersect([1, 2], ['2', 3])", "1"},
    {"is_intersect([1, 2], [3])", "0"},
    {"is_intersect('a', ['b', 'a'])", "1"},
    {"hash(sender, 'sha256')", "'0b06'"},
    {"hash('', 'md5')", "'0003'"},
    {"system('hostname')", "'mx.example.org'"},
    {"system('domain')", "'example.org'"},
    {"system('node_id') + 1", "8"},
    {"metric('smtp.active-connections')", "0"},
    {"metric('smtp.concurrency-limit-exceeded') + 1", "201"},
    {"key_exists('known', sender)", "1"},
    {"key_exists('known', rcpt)", "1"},
    {"key_exists('known', rcpt_domain)", "0"},
    {"key_exists('known', size)", "1"},
    {"key_exists('known', [size])", "0"},
    {"key_exists('known', 'a@' + 'b.example')", "1"},
    {"key_get('known', sender)", "1"},
    {"key_get('known', sender_domain)", "''"},
    {"key_get('named', sender)", "'12'"},
    {"key_get('named', sender) > 11", "1"},
    {"key_get('named', '') == '' && key_exists('named', '')", "1"},
    {"key_exists('*', sender)", "0"},
    {"key_get('*', sender)", "''"},
    {"key_set('*', sender, 5) && key_get('*', sender) == 5", "1"},
    {"key_set('*', sender, 5) && key_exists('*', sender) && !key_exists('*', rcpt)", "1"},
    {"counter_get('*', sender)", "0"},
    {"counter_incr('*', sender)", "1"},
    {"counter_incr('*', sender, 7)", "7"},
    {"counter_incr('*', sender, 7) + counter_incr('*', sender, size) + counter_incr('*', rcpt)",
     "1015"},
    {"counter_incr('*', sender, -2) == -2 && counter_get('*', sender) == -2", "1"},
    {"counter_incr('*', sender) && key_exists('*', sender)", "0"},
    {"dns_query(sender_domain, 'mx')", "''"},
    {"dns_query(rcpt_domain, 'ip') == 'Example.org'", "1"},
};

Test(expr_functions, results)
{
    for (size_t i = 0; i < mx_countof(cases); i++) {
        const char *result = result_of(cases[i][0]);
        cr_assert_str_eq(result, cases[i][1], "%s gave %s", cases[i][0], result);
    }
}

/* The same at run time: every literal behind a condition that is not known at load. */
Test(expr_functions, results_at_run_time)
{
    for (size_t i = 0; i < mx_countof(cases); i++) {
        char text[512];
        char *out = text;
        bool raw = false;
        /* 'a' becomes (last_error+'a'), which is 'a' once it runs; not the first argument of
         * matches nor words, which have to be literals. */
        static const char *const literal[] = {"matches(", "email_part(", "hash(",    "system(",
                                              "metric(",  "key_",        "counter_", "dns_query("};
        for (size_t k = 0; k < mx_countof(literal); k++) {
            raw = raw || strstr(cases[i][0], literal[k]) == cases[i][0];
        }
        for (const char *in = cases[i][0]; *in != '\0'; in++) {
            if (*in == '\'' && !raw) {
                const char *end = strchr(in + 1, '\'');
                out += sprintf(out, "(last_error+%.*s)", (int)(end - in + 1), in);
                in = end;
            } else {
                *out++ = *in;
            }
        }
        *out = '\0';
        const char *result = result_of(text);
        cr_assert_str_eq(result, cases[i][1], "%s gave %s", text, result);
    }
}

/* No function of the table is without a case, or without a word about it. */
Test(expr_functions, table)
{
    const struct expr_function *row;
    for (uint32_t i = 0; (row = expr_function_row(i)) != NULL; i++) {
        bool tried = row->absent != NULL;
        for (size_t k = 0; k < mx_countof(cases) && !tried; k++) {
            size_t len = strlen(row->name);
            tried = strncmp(cases[k][0], row->name, len) == 0 && cases[k][0][len] == '(';
        }
        cr_assert(tried, "%s", row->name);
        cr_assert(row->absent != NULL || row->description[0] != '\0', "%s", row->name);
        cr_assert_eq(expr_function_find(slice_of_text(row->name)), i);
        unsigned words = 1;
        for (const char *c = row->params; *c != '\0'; c++) {
            words += *c == ' ';
        }
        cr_assert_eq(words, row->argc, "%s", row->name);
    }
}
