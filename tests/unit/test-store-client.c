/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The store client against a worker that this test plays itself: good answers, hostile ones, and death at any time.
 */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/error.h"
#include "daemon/store-client.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"

typedef struct Client {
        sd_event *event;
        int worker; /* our end */
        StoreOp *op;
        unsigned n_progress;
        struct store_progress progress;
        bool done;
        char *result; /* member "x" of it */
        char *error, *message;
} Client;

static void on_progress(StoreOp *op, const struct store_progress *progress, void *userdata) {
        Client *c = userdata;

        g_assert_true(op == c->op);
        c->n_progress++;
        c->progress = *progress;
}

static void on_done(StoreOp *op, JsonObject *result, const sd_bus_error *error, void *userdata) {
        Client *c = userdata;

        g_assert_true(op == c->op);
        g_assert_false(c->done);
        g_assert_true(!result != !error);
        c->done = true;
        if (result)
                c->result = g_strdup(json_object_get_string_member_with_default(result, "x", "none"));
        if (error) {
                c->error = g_strdup(error->name);
                c->message = g_strdup(error->message);
        }
}

static const StoreHandlers handlers = { on_progress, on_done };

static void client_open(Client *c, JsonObject *request, const int *fds, size_t n_fds) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int pair[2];

        memset(c, 0, sizeof(*c));
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(sd_event_new(&c->event), >=, 0);
        c->worker = pair[1];
        g_assert_cmpint(store_op_start_on(c->event, pair[0], request, fds, n_fds, &handlers, c, &c->op, &error), ==, 0);
}

static void client_open_plain(Client *c) {
        g_autoptr(JsonObject) request = json_object_new();

        json_object_set_string_member(request, "operation", "verify");
        client_open(c, request, NULL, 0);
}

static void client_close(Client *c) {
        if (!c->done)
                (void)store_op_free(c->op);
        c->worker = safe_close(c->worker);
        sd_event_unref(c->event);
        g_free(c->result);
        g_free(c->error);
        g_free(c->message);
}

static void client_run(Client *c) {
        while (!c->done && sd_event_run(c->event, 0) > 0)
                ;
}

static void answer(Client *c, uint16_t type, const void *body, size_t body_size, const char *text, const int *fds,
                   size_t n_fds) {
        struct store_message head = {
                .version = STORE_PROTOCOL_VERSION,
                .type = type,
                .n_fds = (uint16_t)n_fds,
                .text_size = text ? (uint32_t)strlen(text) : 0,
        };

        g_assert_cmpint(packet_send(c->worker, &head, sizeof(head), body, body_size, text, head.text_size, fds, n_fds),
                        ==, 0);
}

static void test_request(void) {
        g_autoptr(JsonObject) request = json_object_new();
        _cleanup_close_ int archive = memfd_sealed("archive", "abc", 3);
        struct packet *p = g_new0(struct packet, 1);
        const struct store_message *head;
        Client c;

        json_object_set_string_member(request, "operation", "import");
        client_open(&c, request, &archive, 1);
        g_assert_cmpint(packet_recv(c.worker, p), ==, 1);
        head = (const void *)p->data;
        g_assert_cmpuint(head->version, ==, STORE_PROTOCOL_VERSION);
        g_assert_cmpuint(head->type, ==, STORE_REQUEST);
        g_assert_cmpuint(head->n_fds, ==, 1);
        g_assert_cmpuint(p->n_fds, ==, 1);
        g_assert_cmpuint(head->text_size, ==, p->size - sizeof(*head));
        g_assert_cmpmem(p->data + sizeof(*head), head->text_size, "{\"operation\":\"import\"}", 22);
        packet_done(p);
        client_close(&c);
        g_free(p);
}

/* A request that does not fit a packet travels in a memfd, behind the operation's own descriptors. */
static void test_large_request(void) {
        g_autoptr(JsonObject) request = json_object_new(), read = NULL;
        _cleanup_close_ int archive = memfd_sealed("archive", "abc", 3);
        JsonArray *live = json_array_new();
        struct packet *p = g_new0(struct packet, 1);
        const void *map;
        size_t size;
        Client c;

        for (unsigned i = 0; i < 2000; i++)
                json_array_add_string_element(
                        live, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        json_object_set_array_member(request, "live_chains", live);
        client_open(&c, request, &archive, 1);
        g_assert_cmpint(packet_recv(c.worker, p), ==, 1);
        g_assert_cmpuint(p->size, ==, sizeof(struct store_message));
        g_assert_cmpuint(p->n_fds, ==, 2);
        g_assert_cmpint(memfd_map_sealed(p->fds[1], STORE_RESULT_MAX, &map, &size), ==, 0);
        g_assert_cmpint(store_text_parse(map, size, &read), ==, 0);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(read, "live_chains")), ==, 2000);
        (void)munmap((void *)map, size);
        packet_done(p);
        client_close(&c);
        g_free(p);
}

static void test_progress_and_result(void) {
        struct store_progress progress = { .bytes_done = 5, .bytes_total = 10, .layers_done = 1, .layers_total = 2 };
        Client c;

        client_open_plain(&c);
        answer(&c, STORE_PROGRESS, &progress, sizeof(progress), NULL, NULL, 0);
        progress.bytes_done = 11; /* more than there is */
        answer(&c, STORE_PROGRESS, &progress, sizeof(progress), NULL, NULL, 0);
        answer(&c, STORE_DONE, NULL, 0, "{\"x\":\"y\"}", NULL, 0);
        client_run(&c);
        g_assert_cmpuint(c.n_progress, ==, 2);
        g_assert_cmpuint(c.progress.bytes_done, ==, 10);
        g_assert_cmpstr(c.result, ==, "y");
        client_close(&c);
}

static void test_large_result(void) {
        g_autofree char *padding = g_strnfill(STORE_TEXT_MAX, ' '),
                        *text = g_strconcat(padding, "{\"x\":\"big\"}", NULL);
        _cleanup_close_ int memory = memfd_sealed("result", text, strlen(text)),
                            open = memfd_create("open", MFD_CLOEXEC);
        Client c;

        client_open_plain(&c);
        answer(&c, STORE_DONE, NULL, 0, NULL, &memory, 1);
        client_run(&c);
        g_assert_cmpstr(c.result, ==, "big");
        client_close(&c);

        /* One that could still change is not read. */
        g_assert_cmpint(fd_write_all(open, text, strlen(text)), ==, 0);
        client_open_plain(&c);
        answer(&c, STORE_DONE, NULL, 0, NULL, &open, 1);
        client_run(&c);
        g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "Internal");
        client_close(&c);
}

static void test_errors(void) {
        static const struct {
                const char *text, *error, *message;
        } table[] = {
                { "{\"error\":\"InvalidArgument\",\"message\":\"layer 2: bad\"}", "InvalidArgument", "layer 2: bad" },
                { "{\"error\":\"NotFound\",\"message\":\"a\\nb\\u0007c %s\"}", "NotFound", "a b c %s" },
                { "{\"error\":\"NotFound\",\"message\":\"a\\u009bb\\u202ec \u00fc\u65e5\"}", "NotFound",
                  "a b c \u00fc\u65e5" },
                { "{\"error\":\"ResourceExhausted\",\"message\":\"\"}", "ResourceExhausted", "" },
                { "{\"error\":\"Whatever\",\"message\":\"m\"}", "Internal", NULL },
                { "{\"error\":5,\"message\":\"m\"}", "Internal", NULL },
                { "{\"error\":\"NotFound\"}", "Internal", NULL },
                { "{\"error\":\"NotFound\",\"message\":null}", "Internal", NULL },
                { "{\"error\":\"NotFound\",\"message\":{}}", "Internal", NULL },
                { "[]", "Internal", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree char *name = g_strconcat(DAVIT_BUS_ERROR, table[i].error, NULL);
                Client c;

                client_open_plain(&c);
                answer(&c, STORE_ERROR, NULL, 0, table[i].text, NULL, 0);
                client_run(&c);
                g_assert_cmpstr(c.error, ==, name);
                if (table[i].message)
                        g_assert_cmpstr(c.message, ==, table[i].message);
                client_close(&c);
        }
}

/* Raw bytes that break the protocol: each ends the operation with Internal and nothing else happens. */
static void test_broken_packets(void) {
        struct {
                struct store_message head;
                uint8_t rest[64];
        } table[] = {
                { .head = { .version = 2, .type = STORE_DONE, .text_size = 64 } },
                { .head = { .version = 1, .type = STORE_REQUEST, .text_size = 64 } },
                { .head = { .version = 1, .type = STORE_CANCEL, .text_size = 64 } },
                { .head = { .version = 1, .type = 0, .text_size = 64 } },
                { .head = { .version = 1, .type = 99, .text_size = 64 } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = 63 } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = 65 } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = UINT32_MAX } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = 0 } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = 64, .n_fds = 1 } },
                { .head = { .version = 1, .type = STORE_DONE, .text_size = 64 } }, /* 64 NUL bytes */
                { .head = { .version = 1, .type = STORE_PROGRESS } },              /* of another size */
        };

        for (size_t i = 0; i <= ELEMENTSOF(table); i++) {
                Client c;

                client_open_plain(&c);
                if (i < ELEMENTSOF(table))
                        g_assert_cmpint(send(c.worker, &table[i], sizeof(table[i]), 0), ==, sizeof(table[i]));
                else
                        g_assert_cmpint(send(c.worker, "short", 5, 0), ==, 5);
                client_run(&c);
                g_assert_true(c.done);
                g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "Internal");
                g_assert_cmpuint(c.n_progress, ==, 0);
                client_close(&c);
        }
}

static void test_too_many_descriptors(void) {
        _cleanup_close_ int memory = memfd_sealed("result", "{}", 2);
        int fds[] = { memory, memory, memory };
        Client c;

        client_open_plain(&c);
        answer(&c, STORE_DONE, NULL, 0, NULL, fds, 3);
        client_run(&c);
        g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "Internal");
        client_close(&c);
}

static void test_death(void) {
        static const struct store_progress progress = { .bytes_done = 1 };
        Client c;

        client_open_plain(&c);
        c.worker = safe_close(c.worker);
        client_run(&c);
        g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "Unavailable");
        client_close(&c);

        client_open_plain(&c);
        answer(&c, STORE_PROGRESS, &progress, sizeof(progress), NULL, NULL, 0);
        c.worker = safe_close(c.worker);
        client_run(&c);
        g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "Internal");
        g_assert_cmpuint(c.n_progress, ==, 1);
        client_close(&c);
}

static void test_cancel(void) {
        struct packet *p = g_new0(struct packet, 1);
        Client c;

        client_open_plain(&c);
        g_assert_false(store_op_cancel_asked(c.op));
        store_op_cancel(c.op);
        store_op_cancel(c.op);
        g_assert_true(store_op_cancel_asked(c.op));
        g_assert_cmpint(packet_recv(c.worker, p), ==, 1);
        g_assert_cmpint(packet_recv(c.worker, p), ==, 1);
        g_assert_cmpuint(((const struct store_message *)(const void *)p->data)->type, ==, STORE_CANCEL);
        g_assert_cmpint(recv(c.worker, p->data, 1, MSG_DONTWAIT), ==, -1); /* once */
        c.worker = safe_close(c.worker);
        client_run(&c);
        g_assert_cmpstr(c.error, ==, DAVIT_BUS_ERROR "FailedPrecondition");
        client_close(&c);
        g_free(p);
}

/* Giving up is the end of file to the worker, and no handler is called. */
static void test_free(void) {
        struct packet *p = g_new0(struct packet, 1);
        Client c;

        client_open_plain(&c);
        c.op = store_op_free(c.op);
        g_assert_cmpint(packet_recv(c.worker, p), ==, 1);
        g_assert_cmpint(packet_recv(c.worker, p), ==, 0);
        g_assert_false(c.done);
        client_close(&c);
        g_free(p);
}

static void test_text(void) {
        static const struct {
                const char *text;
                int result;
        } table[] = {
                { "{}", 0 },
                { " {\"a\":[1,2,{\"b\":\"]]]]{{{{\\\"[\"}]} ", 0 },
                { "", -EBADMSG },
                { "null", -EBADMSG },
                { "\"x\"", -EBADMSG },
                { "{", -EBADMSG },
                { "{\"a\":1,}x", -EBADMSG },
                { "{\"a\":\"\xff\"}", -EBADMSG },
                { "{'a':1}", -EBADMSG },
                { "/* c */ {}", -EBADMSG },
        };
        g_autofree char *deep = g_strnfill(1U << 20, '[');

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autoptr(JsonObject) o = NULL;

                g_assert_cmpint(store_text_parse(table[i].text, strlen(table[i].text), &o), ==, table[i].result);
                g_assert_true(!!o == (table[i].result == 0));
        }
        g_assert_cmpint(store_text_parse(deep, 1U << 20, &(JsonObject *){ NULL }), ==, -EBADMSG);
        g_assert_cmpint(store_text_parse("{\"a\0\":1}", 8, &(JsonObject *){ NULL }), ==, -EBADMSG);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store-client/request", test_request);
        g_test_add_func("/store-client/large-request", test_large_request);
        g_test_add_func("/store-client/progress-and-result", test_progress_and_result);
        g_test_add_func("/store-client/large-result", test_large_result);
        g_test_add_func("/store-client/errors", test_errors);
        g_test_add_func("/store-client/broken-packets", test_broken_packets);
        g_test_add_func("/store-client/too-many-descriptors", test_too_many_descriptors);
        g_test_add_func("/store-client/death", test_death);
        g_test_add_func("/store-client/cancel", test_cancel);
        g_test_add_func("/store-client/free", test_free);
        g_test_add_func("/store-client/text", test_text);
        return g_test_run();
}
