/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chains: the read-only root file systems that containers of one image share.
 *
 * Which form they have here is a matter of configuration and of what the launcher has found the kernel to mount; where
 * they are follows from chain id and form alone, so that a present one costs a start no worker and no look at records.
 * One that is missing, because it was built for another form or has been lost, is made by the store, once, and mounted
 * then. Files of an EROFS image lead into the repository's objects, which are a layer of their own below it.
 */

#include "daemon/chain.h"

#include <errno.h>
#include <string.h>

#include "daemon/launcher.h"
#include "daemon/store-client.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"

struct ChainRequest {
        Manager *manager;
        char *chain_id, *name, *source; /* name: of the mount */
        ChainForm form;
        chain_handler_t handler;
        void *userdata;
        LauncherRequest *request;
        StoreOp *op;
        sd_event_source *retry;
        bool made;  /* the store has made it, or tried to */
        bool again; /* a launcher went while it was asked, another one is */
};

/** chain_kind() - see chain.h */
const char *chain_kind(const char *name) {
        static const char *const kinds[] = { "erofs", "checkout" };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i], name))
                        return kinds[i];
        return NULL;
}

/** chain_form() - the form in which chains are mounted from now on
 *
 * Until the launcher has told what there is the kernel is taken to mount EROFS.
 */
void chain_form(const Manager *m, ChainForm *ret) {
        chain_form_of(m, NULL, ret);
}

/** chain_form_of() - the form of a kind that was asked for by name */
void chain_form_of(const Manager *m, const char *kind, ChainForm *ret) {
        uint32_t features = launcher_features(m->launcher);
        const char *own = m->config.root_filesystem ?: "auto";
        /* How an EROFS image is mounted stays the host's matter. */
        const char *word = !kind || g_str_has_prefix(own, kind) ? own : kind;
        bool file = features == 0 || features & 1U << LAUNCHER_CHAIN_EROFS_FILE;
        bool loop = features & 1U << LAUNCHER_CHAIN_EROFS_LOOP;

        *ret = (ChainForm){ .form = LAUNCHER_CHAIN_CHECKOUT };
        if (streq(word, "erofs-file"))
                ret->form = LAUNCHER_CHAIN_EROFS_FILE;
        else if (streq(word, "erofs-loop"))
                ret->form = LAUNCHER_CHAIN_EROFS_LOOP;
        else if (streq(word, "erofs") || (streq(word, "auto") && (file || loop)))
                *ret = (ChainForm){ file ? LAUNCHER_CHAIN_EROFS_FILE : LAUNCHER_CHAIN_EROFS_LOOP,
                                    LAUNCHER_CHAIN_FALL_BACK };
}

const char *chain_form_word(const ChainForm *form) {
        return form->form == LAUNCHER_CHAIN_CHECKOUT ? "checkout" : "erofs";
}

/* The name of a chain's mount. A kind that was asked for has one of its own: what this host takes may change. */
static char *mount_name(const char *kind, const char *chain_id) {
        return g_strconcat(chain_id, kind ? "." : NULL, kind, NULL);
}

/** chain_place() - see chain.h */
char *chain_place(const char *kind, const char *chain_id) {
        g_autofree char *name = mount_name(kind, chain_id);

        return g_strconcat(CHAIN_MOUNTS, name, NULL);
}

/** chain_source() - what the launcher mounts, absolute; to be freed */
char *chain_source(const ChainForm *form, const char *chain_id) {
        return g_strconcat(form->form == LAUNCHER_CHAIN_CHECKOUT ? DAVIT_STATE_DIR "/checkouts/"
                                                                 : DAVIT_STATE_DIR "/erofs/",
                           chain_id + strlen("sha256:"), NULL);
}

const char *const *chain_data(const ChainForm *form) {
        static const char *const objects[] = { DAVIT_STATE_DIR "/repo/objects", NULL };

        return form->form == LAUNCHER_CHAIN_CHECKOUT ? NULL : objects;
}

/** chain_request_cancel() - forgets a request; NULL is fine */
void chain_request_cancel(ChainRequest *q) {
        if (!q)
                return;
        launcher_request_cancel(q->request);
        (void)store_op_free(q->op);
        (void)sd_event_source_disable_unref(q->retry);
        g_free(q->chain_id);
        g_free(q->name);
        g_free(q->source);
        g_free(q);
}

static void finish(ChainRequest *q, int error, const char *message) {
        q->handler(error, message, q->userdata);
        chain_request_cancel(q);
}

static int ask_launcher(ChainRequest *q);

static void on_made(StoreOp *op _unused_, JsonObject *result _unused_, const sd_bus_error *error, void *userdata) {
        ChainRequest *q = userdata;
        int r;

        q->op = NULL; /* frees itself */
        if (error) {
                finish(q, -EIO, error->message);
                return;
        }
        r = ask_launcher(q);
        if (r < 0)
                finish(q, r, NULL);
}

/** chain_request() - the request that has the store make a chain's root file system; a new reference */
JsonObject *chain_request(const char *chain_id, const ChainForm *form) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "operation", "rootfs");
        json_object_set_string_member(o, "chain_id", chain_id);
        json_object_set_string_member(o, "rootfs", chain_form_word(form));
        return o;
}

static int ask_store(ChainRequest *q) {
        static const StoreHandlers handlers = { NULL, on_made, NULL };
        g_autoptr(JsonObject) request = chain_request(q->chain_id, &q->form);

        log_info("The %s of chain %s is missing, it is made", chain_form_word(&q->form), q->chain_id);
        q->made = true;
        return store_op_start(q->manager->event, request, NULL, 0, &handlers, q, &q->op, NULL);
}

static int on_retry(sd_event_source *s _unused_, void *userdata) {
        ChainRequest *q = userdata;
        int r;

        q->retry = sd_event_source_disable_unref(q->retry);
        r = ask_launcher(q);
        if (r < 0)
                finish(q, r, NULL);
        return 0;
}

static void on_mounted(int error, const char *message, void *userdata) {
        ChainRequest *q = userdata;

        q->request = NULL;
        /* Not from here: the connection is just being given up. */
        if (error == -ECONNRESET && !q->again) {
                q->again = true;
                if (sd_event_add_defer(q->manager->event, &q->retry, on_retry, q) >= 0)
                        return;
        }
        if (error == -ENOENT && !q->made && ask_store(q) >= 0)
                return;
        finish(q, error, message);
}

static int ask_launcher(ChainRequest *q) {
        return launcher_chain(q->manager->launcher, q->name, q->source, &q->form, on_mounted, q, &q->request);
}

/** chain_mount() - see chain.h; error and message of the handler are the launcher's or the store's */
int chain_mount(Manager *m, const char *chain_id, const char *kind, const ChainForm *form, chain_handler_t handler,
                void *userdata, ChainRequest **ret) {
        g_autofree char *source = chain_source(form, chain_id), *name = mount_name(kind, chain_id);
        ChainRequest *q;
        int r;

        if (launcher_has_chain(m->launcher, name, source))
                return 1;
        q = g_new0(ChainRequest, 1);
        q->manager = m;
        q->chain_id = g_strdup(chain_id);
        q->name = g_steal_pointer(&name);
        q->source = g_steal_pointer(&source);
        q->form = *form;
        q->handler = handler;
        q->userdata = userdata;
        r = ask_launcher(q);
        if (r < 0) {
                chain_request_cancel(q);
                return r;
        }
        *ret = q;
        return 0;
}
