/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From what a user typed to the digest of a content: a whole one, with or without "sha256:", is used without asking; a
 * beginning of one, as content ls prints it, is looked for among the namespace's. One that several begin with is an
 * error. What is no digest, and what is not found, is left to the manager to refuse.
 */

#include "ctl/bus.h"

#define PREFIX "sha256:"
#define HEX_MIN 7U /* as of images: fewer are too easily somebody else's */
#define HEX_MAX 64U

/* Walks the reply. Returns the number of digests that begin with these digits, negative errno. */
static int match(Message *reply, const char *hex, const char **ret) {
        const char *digest;
        int r, n = 0;

        r = message_enter(reply, 'a', NULL);
        while (r >= 0 && (r = message_enter(reply, 'r', NULL)) > 0) {
                r = message_read(reply, "ss", NULL, &digest);
                if (r >= 0)
                        r = message_skip(reply, "sst");
                if (r >= 0)
                        r = message_skip(reply, "a{ss}");
                if (r >= 0)
                        r = message_skip(reply, "to");
                if (r >= 0)
                        r = message_exit(reply);
                if (r < 0)
                        break;
                if (strncmp(digest, PREFIX, strlen(PREFIX)) == 0 &&
                    strncmp(digest + strlen(PREFIX), hex, strlen(hex)) == 0) {
                        *ret = digest;
                        n++;
                }
        }
        return r < 0 ? r : n;
}

static int look_up(Ctl *ctl, const char *given, const char *hex, char **ret) {
        _cleanup_call_ Call call = {};
        const char *digest = given;
        int n, r;

        r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "ListContent", "sa{sv}", ctl->ns, 0);
        if (r == 0)
                r = call_finish(ctl, &call, NULL);
        if (r != 0)
                return r;
        n = match(call.reply, hex, &digest);
        if (n < 0)
                return bus_protocol_error(ctl, n);
        if (n > 1)
                return ctl_error(ctl, _("'%s' is the beginning of more than one content's digest; give more of it"),
                                 given);
        *ret = strdup(digest);
        return *ret ? 0 : ctl_oom(ctl);
}

/**
 * content_digest() - the whole digest of the content that was meant.
 * @ret: to free; what was given where there is no such content.
 *
 * Returns 0, or an exit status after an error has been printed.
 */
int content_digest(Ctl *ctl, const char *given, char **ret) {
        const char *hex = strncmp(given, PREFIX, strlen(PREFIX)) == 0 ? given + strlen(PREFIX) : given;
        size_t n = strlen(hex);

        if (n >= HEX_MIN && n < HEX_MAX && strspn(hex, "0123456789abcdef") == n)
                return look_up(ctl, given, hex, ret);
        *ret = n == HEX_MAX && hex == given ? text_printf(PREFIX "%s", hex) : strdup(given);
        return *ret ? 0 : ctl_oom(ctl);
}
