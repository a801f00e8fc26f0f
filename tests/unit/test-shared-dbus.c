/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the D-Bus messages: what is written is read back, byte by byte as the specification has it, and what
 * is damaged in any one byte, or cut short anywhere, is refused or read within its bounds.
 * No bus is needed.
 */

#include <string.h>

#include "shared/dbus.h"
#include "tests/unit/test.h"

/* The bytes of a message as they go out, in memory aligned for 8. */
static char *bytes_of(Message *m, size_t *ret_size) {
        _cleanup_free_ char *header = NULL;
        size_t n;
        char *all;

        m->serial = 7;
        ASSERT_OK(message_header(m, &header, &n));
        ASSERT_EQ(n % 8, 0);
        all = malloc(n + m->size + 1);
        ASSERT_TRUE(all);
        memcpy(all, header, n);
        if (m->size > 0)
                memcpy(all + n, m->data, m->size);
        *ret_size = n + m->size;
        return all;
}

static Message *sample(void) {
        char *words[] = { (char *)"one", (char *)"", (char *)"drei", NULL };
        Message *m = message_new("/a/b", "x.y.Z", "Call");

        ASSERT_TRUE(m);
        m->destination = "x.y";
        ASSERT_OK(message_append(m, "ssb", "text", "grün", 1));
        ASSERT_OK(message_append_strv(m, words));
        ASSERT_OK(message_append(m, "a{sv}", 3, "Number", "t", UINT64_C(1) << 40, "Size", "(uu)", 80U, 25U, "Words",
                                 "as", 1, "w"));
        ASSERT_OK(message_open(m, 'a', "(ssss)"));
        ASSERT_OK(message_append(m, "(ssss)", "a", "b", "c", "d"));
        ASSERT_OK(message_close(m));
        ASSERT_OK(message_append(m, "uo", 5U, "/p"));
        return m;
}

static void check_options(Message *m) {
        const char *key, *word;
        uint64_t number;
        uint32_t x, y;

        ASSERT_EQ(message_enter(m, 'a', "{sv}"), 1);
        ASSERT_EQ(message_enter(m, 'e', "sv"), 1);
        ASSERT_EQ(message_read(m, "s", &key), 1);
        ASSERT_STREQ(key, "Number");
        ASSERT_EQ(message_read(m, "v", "t", &number), 1);
        ASSERT_EQ(number, INT64_C(1) << 40);
        ASSERT_EQ(message_exit(m), 1);
        ASSERT_EQ(message_enter(m, 'e', "sv"), 1);
        ASSERT_EQ(message_read(m, "s", NULL), 1);
        ASSERT_EQ(message_read(m, "v", "(uu)", &x, &y), 1);
        ASSERT_EQ(x, 80);
        ASSERT_EQ(y, 25);
        ASSERT_EQ(message_exit(m), 1);
        ASSERT_EQ(message_enter(m, 'e', "sv"), 1);
        ASSERT_EQ(message_read(m, "s", NULL), 1);
        ASSERT_EQ(message_enter(m, 'v', "as"), 1);
        ASSERT_EQ(message_enter(m, 'a', "s"), 1);
        ASSERT_EQ(message_read(m, "s", &word), 1);
        ASSERT_STREQ(word, "w");
        ASSERT_EQ(message_read(m, "s", &word), 0);
        for (int i = 0; i < 3; i++)
                ASSERT_EQ(message_exit(m), 1);
        ASSERT_EQ(message_enter(m, 'e', "sv"), 0);
        ASSERT_EQ(message_exit(m), 1);
}

static void what_is_written_is_read(void) {
        _cleanup_message_ Message *m = sample(), *back = NULL;
        const char *a, *b, *c, *d;
        unsigned n_fds = 0;
        uint32_t number;
        char **words;
        size_t size;
        char *bytes;
        int flag;

        bytes = bytes_of(m, &size);
        ASSERT_STREQ(m->types, "ssbasa{sv}a(ssss)uo");
        back = message_parse(bytes, size, NULL, &n_fds);
        ASSERT_TRUE(back);
        ASSERT_EQ(back->type, DBUS_CALL);
        ASSERT_EQ(back->serial, 7);
        ASSERT_STREQ(back->path, "/a/b");
        ASSERT_STREQ(back->interface, "x.y.Z");
        ASSERT_STREQ(back->member, "Call");
        ASSERT_EQ(message_read(back, "ssb", &a, &b, &flag), 1);
        ASSERT_STREQ(a, "text");
        ASSERT_STREQ(b, "grün");
        ASSERT_EQ(flag, 1);
        ASSERT_EQ(message_read_strv(back, &words), 1);
        ASSERT_STREQ(words[2], "drei");
        ASSERT_TRUE(!words[3]);
        for (char **w = words; *w; w++)
                free(*w);
        free(words);
        ASSERT_TRUE(message_peek_map(back));
        check_options(back);
        ASSERT_FALSE(message_peek_map(back));
        ASSERT_EQ(message_enter(back, 'a', "(ssss)"), 1);
        ASSERT_EQ(message_read(back, "(ssss)", &a, &b, &c, &d), 1);
        ASSERT_STREQ(d, "d");
        ASSERT_EQ(message_read(back, "(ssss)", &a, &b, &c, &d), 0);
        ASSERT_EQ(message_exit(back), 1);
        ASSERT_EQ(message_read(back, "uo", &number, &a), 1);
        ASSERT_EQ(number, 5);
        ASSERT_STREQ(a, "/p");
        ASSERT_EQ(message_peek(back), 0);
        ASSERT_EQ(message_read(back, "u", &number), 0);
}

static void values_can_be_skipped(void) {
        _cleanup_message_ Message *m = sample(), *back = NULL;
        unsigned n_fds = 0;
        uint32_t number;
        size_t size;
        char *bytes = bytes_of(m, &size);

        back = message_parse(bytes, size, NULL, &n_fds);
        ASSERT_TRUE(back);
        ASSERT_EQ(message_skip(back, "ssbasa{sv}a(ssss)"), 1);
        ASSERT_EQ(message_read(back, "u", &number), 1);
        ASSERT_EQ(number, 5);
}

static void wrong_types_are_refused(void) {
        _cleanup_message_ Message *m = sample(), *back = NULL;
        unsigned n_fds = 0;
        uint32_t number;
        size_t size;
        char *bytes = bytes_of(m, &size);

        back = message_parse(bytes, size, NULL, &n_fds);
        ASSERT_TRUE(back);
        ASSERT_OP(message_read(back, "u", &number), <, 0);
        ASSERT_OP(message_enter(back, 'a', "s"), <, 0);
        ASSERT_OP(message_skip(back, "su"), <, 0);
        ASSERT_OP(message_exit(back), <, 0);
}

static void wrong_texts_are_refused(void) {
        static const char *const bad[] = { "\xff",  "\xc3",    "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                           "a\x80", "\xe2\x82" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_message_ Message *m = message_new("/", "a.b", "C");

                ASSERT_TRUE(m);
                ASSERT_EQ(message_append(m, "s", bad[i]), -EINVAL);
                ASSERT_EQ(message_append(m, "s", "good"), -EINVAL); /* the first failure sticks */
        }
}

static void descriptors_travel(void) {
        _cleanup_message_ Message *m = message_new("/", "a.b", "C"), *back = NULL;
        int fds[2], got, moved[2];
        unsigned n_fds = 2;
        size_t size;
        char *bytes;

        ASSERT_TRUE(m);
        ASSERT_OK(pipe(fds));
        ASSERT_OK(message_append(m, "hh", fds[0], fds[1]));
        ASSERT_EQ(m->n_fds, 2);
        ASSERT_TRUE(m->fds[0] != fds[0]);
        bytes = bytes_of(m, &size);
        moved[0] = fds[0];
        moved[1] = fds[1];
        back = message_parse(bytes, size, moved, &n_fds);
        ASSERT_TRUE(back);
        ASSERT_EQ(n_fds, 2);
        ASSERT_EQ(message_read(back, "h", NULL), 1);
        ASSERT_EQ(message_read(back, "h", &got), 1);
        ASSERT_EQ(got, fds[1]);
}

static void missing_descriptors_are_refused(void) {
        _cleanup_message_ Message *m = message_new("/", "a.b", "C");
        unsigned n_fds = 0;
        size_t size;
        char *bytes;

        ASSERT_TRUE(m);
        ASSERT_OK(message_append(m, "h", 0));
        bytes = bytes_of(m, &size);
        ASSERT_TRUE(!message_parse(bytes, size, NULL, &n_fds));
}

/* Reads everything whose types the message itself names; only sanitizers and bounds can object. */
static void read_all(Message *m) {
        for (char type; (type = message_peek(m)) != 0;) {
                if (strchr("arev", type) ? message_enter(m, type, NULL) <= 0 : message_read_basic(m, type, NULL) <= 0)
                        return;
                while (message_peek(m) == 0 && message_exit(m) > 0)
                        ;
        }
}

static void damage_is_survived(void) {
        _cleanup_message_ Message *m = sample();
        size_t size, refused = 0;
        _cleanup_free_ char *bytes = bytes_of(m, &size);

        for (size_t at = 0; at < size; at++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        char *copy = malloc(size);
                        _cleanup_message_ Message *back = NULL;
                        unsigned n_fds = 0;

                        ASSERT_TRUE(copy);
                        memcpy(copy, bytes, size);
                        copy[at] = (char)(copy[at] ^ 1 << bit);
                        back = message_parse(copy, size, NULL, &n_fds);
                        if (back)
                                read_all(back);
                        else
                                refused++;
                }
        ASSERT_OP(refused, >, 0);
        for (size_t cut = 16; cut < size; cut++) {
                char *copy = malloc(cut);
                _cleanup_message_ Message *back = NULL;
                unsigned n_fds = 0;

                ASSERT_TRUE(copy);
                memcpy(copy, bytes, cut);
                back = message_parse(copy, cut, NULL, &n_fds);
                if (back)
                        read_all(back);
        }
}

TEST_MAIN({ "what is written is read", what_is_written_is_read }, { "values can be skipped", values_can_be_skipped },
          { "wrong types are refused", wrong_types_are_refused },
          { "wrong texts are refused", wrong_texts_are_refused }, { "descriptors travel", descriptors_travel },
          { "missing descriptors are refused", missing_descriptors_are_refused },
          { "damage is survived", damage_is_survived })
