/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests shim/account.c: the table of user[:group] forms, and passwd and group files an attacker would write. */

#include <errno.h>

#include "shim/account.h"
#include "tests/unit/test.h"

static void test_ids(void) {
        static const struct {
                const char *text;
                int result;
                uint32_t id;
        } table[] = {
                { "0", 0, 0 },
                { "1000", 0, 1000 },
                { "007", 0, 7 },
                { "2147483648", 0, 2147483648U },
                { "4294967294", 0, 4294967294U },
                { "4294967295", -ERANGE, 0 },
                { "4294967296", -ERANGE, 0 },
                { "99999999999999999999", -ERANGE, 0 },
                { "", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "+1", -EINVAL, 0 },
                { " 5", -EINVAL, 0 },
                { "5 ", -EINVAL, 0 },
                { "0x0", -EINVAL, 0 },
                { "1000abc", -EINVAL, 0 },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                uint32_t id = 0;

                ASSERT_EQ(account_parse_id(table[i].text, strlen(table[i].text), &id), table[i].result);
                ASSERT_EQ(id, table[i].id);
        }
}

static void test_requests(void) {
        static const char *const bad[] = { "",   ":",   "1:",   ":1",    "1:2:3", "0x0", "1000abc", "-1", " 5",
                                           "5 ", "a b", "a\nb", "a:b:c", "-x",    "a:",  ":a",      "a/b" };
        struct account_request r;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ASSERT_EQ(account_parse_request(bad[i], &r), -EINVAL);
        ASSERT_EQ(account_parse_request("4294967296", &r), -ERANGE);
        ASSERT_EQ(account_parse_request("0:4294967295", &r), -ERANGE);

        ASSERT_OK(account_parse_request("1000", &r));
        ASSERT_TRUE(r.user_numeric);
        ASSERT_FALSE(r.group_given);
        ASSERT_EQ(r.uid, 1000);
        ASSERT_OK(account_parse_request("www-data:33", &r));
        ASSERT_FALSE(r.user_numeric);
        ASSERT_STREQ(r.user, "www-data");
        ASSERT_TRUE(r.group_numeric);
        ASSERT_EQ(r.gid, 33);
        ASSERT_OK(account_parse_request("5:staff", &r));
        ASSERT_STREQ(r.group, "staff");
}

static void test_passwd(void) {
        static const char passwd[] = "# comment\n"
                                     "root:x:0:0:root:/root:/bin/sh\n"
                                     "short:x:5:5\n"
                                     "evil:x:4294967296:0::/:/bin/sh\n"
                                     "sign:x:-1:0::/:/bin/sh\n"
                                     "1000:x:0:0::/root:/bin/sh\n"
                                     "user:x:1000:1001:A User:/srv/user:/bin/sh:extra\n"
                                     "user:x:1000:1002:A User:/srv/user:/bin/sh\n"
                                     "last:x:7:8::/last:";
        struct account a;

        ASSERT_EQ(account_find(passwd, "root", 0, &a), 1);
        ASSERT_STREQ(a.home, "/root");
        free(a.home);
        ASSERT_EQ(account_find(passwd, "user", 0, &a), 1);
        ASSERT_EQ(a.gid, 1002); /* the line with a field too many does not count */
        free(a.home);
        ASSERT_EQ(account_find(passwd, NULL, 1000, &a), 1);
        ASSERT_STREQ(a.name, "user");
        free(a.home);
        ASSERT_EQ(account_find(passwd, "last", 0, &a), 1);
        ASSERT_STREQ(a.home, "/last");
        free(a.home);
        ASSERT_EQ(account_find(passwd, "short", 0, &a), 0);
        ASSERT_EQ(account_find(passwd, "evil", 0, &a), 0);
        ASSERT_EQ(account_find(passwd, "sign", 0, &a), 0);
        ASSERT_EQ(account_find("", "root", 0, &a), 0);
}

static void test_groups(void) {
        static const char group[] = "root:x:0:\nstaff:x:50:alice,bob\nbad:x:x:bob\naudio:x:29:bob\nbo:x:30:bobby,b\n";
        uint32_t *gids = NULL, gid;
        size_t n = 0;

        ASSERT_EQ(account_find_group(group, "audio", &gid), 1);
        ASSERT_EQ(gid, 29);
        ASSERT_EQ(account_find_group(group, "bad", &gid), 0);
        ASSERT_EQ(account_find_group(group, "none", &gid), 0);
        ASSERT_OK(account_groups(group, "bob", &gids, &n));
        ASSERT_EQ(n, 2);
        ASSERT_EQ(gids[0], 50);
        ASSERT_EQ(gids[1], 29);
        free(gids);
}

TEST_MAIN({ "ids", test_ids }, { "requests", test_requests }, { "passwd", test_passwd }, { "groups", test_groups })
