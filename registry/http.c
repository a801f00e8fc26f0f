/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * GET by libcurl, with the bounds that libcurl does not have.
 *
 * One exchange is one request and one answer: redirects, credentials and a second try are the caller's. What comes is
 * counted, headers as well as bodies, and has to come at some speed, except while nobody reads the output. Connections
 * are kept for the next exchange by the operation's multi handle. HTTP/1.1 alone is spoken: a paused transfer then
 * holds back nothing but its own connection. Of encodings only one layer of gzip is unpacked, and of documents alone.
 */

#include "registry/http.h"

#include <string.h>
#include <sys/socket.h>

#include "registry/registry.h"
#include "shared/macros.h"
#include "store/error.h"

/*
 * Bytes a second that have to come, on an average of two "stall_usec": the slowest link that images are sensibly pulled
 * over (GPRS, some 4 KiB a second) leaves that to each of the pulls that run at a time, and two stalls are long enough
 * for one that stands still for a while. Somebody who drips holds a pull no longer than that.
 */
#define SPEED_MIN 1024U
#define PATIENCE_STALLS 20 /* so many "stall_usec" an operation may wait for more than its bytes are worth */
#define BUSY_BYTES 4096U   /* with less, time spent on what has come is the server's */
#define WAIT_MSEC 1000
#define BUFFER_SIZE (256L * 1024L)
#define CA_SIZE_MAX ((gsize)1024 * 1024)
#define CA_FILES_MAX 32U

typedef struct {
        guint64 came;  /* bytes */
        gint64 waited; /* usec, none of which is the reader's */
} Pace;

typedef struct {
        Operation *operation;
        const HttpRequest *request;
        HttpAnswer *answer;
        CURL *easy;
        struct curl_slist *headers;
        char text[CURL_ERROR_SIZE];
        gsize header_size; /* of all headers */
        guint codings;     /* of content that libcurl is to undo */
        guint64 came;      /* bytes since "waited" began anew */
        gint64 waited;     /* usec */
        gint64 all_waited; /* usec */
        Pace lately;       /* for the average */
        gboolean paused;
        gboolean begun; /* the body */
        GError *failure;
} Exchange;

void http_answer_clear(HttpAnswer *a) {
        g_clear_pointer(&a->content_type, g_free);
        g_clear_pointer(&a->content_range, g_free);
        g_clear_pointer(&a->digest, g_free);
        g_clear_pointer(&a->location, g_free);
        g_clear_pointer(&a->authenticate, g_free);
        g_clear_pointer(&a->retry_after, g_free);
        g_clear_pointer(&a->body, g_byte_array_unref);
}

static void came(Exchange *x, gsize size) {
        x->came += size;
        x->lately.came += size;
        x->operation->fetched += size;
}

/* A new status line, of a redirect by a proxy for example, makes what was said before void. */
static void begin_answer(HttpAnswer *a) {
        GByteArray *body = g_steal_pointer(&a->body);

        http_answer_clear(a);
        a->body = body;
}

static void set_header(HttpAnswer *a, const char *name, const char *value) {
        const struct {
                const char *name;
                char **to;
        } wanted[] = {
                { "Content-Type", &a->content_type },    { "Content-Range", &a->content_range },
                { "Docker-Content-Digest", &a->digest }, { "Location", &a->location },
                { "Retry-After", &a->retry_after },
        };

        if (g_ascii_strcasecmp(name, "WWW-Authenticate") == 0) {
                char *all = a->authenticate ? g_strconcat(a->authenticate, ", ", value, NULL) : g_strdup(value);

                g_free(a->authenticate);
                a->authenticate = all;
        }
        for (gsize i = 0; i < G_N_ELEMENTS(wanted); i++)
                if (g_ascii_strcasecmp(name, wanted[i].name) == 0) {
                        g_free(*wanted[i].to);
                        *wanted[i].to = g_strdup(value);
                }
}

/*
 * libcurl undoes five encodings one inside the other, asked for or not, and all of it within one call: a few kilobytes
 * could keep it busy for years, deaf to a cancellation. One gzip, which a document may be in, is bounded by what comes
 * out of it.
 */
static gboolean check_coding(Exchange *x, const char *name, const char *value) {
        gboolean transfer = g_ascii_strcasecmp(name, "Transfer-Encoding") == 0;

        if (!transfer && (x->request->take || g_ascii_strcasecmp(name, "Content-Encoding") != 0))
                return TRUE;
        if (value[0] == '\0' || g_ascii_strcasecmp(value, "identity") == 0 ||
            (transfer && g_ascii_strcasecmp(value, "chunked") == 0) ||
            (!transfer && (g_ascii_strcasecmp(value, "gzip") == 0 || g_ascii_strcasecmp(value, "x-gzip") == 0) &&
             x->codings++ == 0))
                return TRUE;
        return store_fail(&x->failure, STORE_FAIL_INVALID, "it sends in an encoding that was not asked for");
}

/* libcurl gives whole lines, one a call. */
static size_t on_header(char *data, size_t one _unused_, size_t size, void *userdata) {
        Exchange *x = userdata;
        g_autofree char *line = g_strndup(data, size);
        char *colon = strchr(line, ':');

        came(x, size);
        x->header_size += size;
        if (x->header_size > HTTP_HEADERS_MAX) {
                store_fail(&x->failure, STORE_FAIL_INVALID, "its headers are larger than %u bytes", HTTP_HEADERS_MAX);
                return 0;
        }
        if (g_str_has_prefix(line, "HTTP/")) {
                g_clear_error(&x->failure); /* of an address that was not to be connected to: there was another one */
                begin_answer(x->answer);
        } else if (colon && line[0] != ' ' && line[0] != '\t') {
                *colon = '\0';
                if (!check_coding(x, g_strchomp(line), g_strstrip(colon + 1)))
                        return 0;
                set_header(x->answer, line, colon + 1);
        }
        return size;
}

static gboolean is_good(guint status) {
        return status >= 200 && status < 300;
}

static void read_status(Exchange *x) {
        curl_off_t length = -1;
        const char *ip = NULL;
        long status = 0;

        (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        (void)curl_easy_getinfo(x->easy, CURLINFO_PRIMARY_IP, &ip);
        x->answer->local = ip && address_text_is_local(ip);
        x->answer->status = status >= 100 && status < 600 ? (guint)status : 0;
        x->answer->length = length;
}

/* What an error says for people may be cut. */
static size_t keep(Exchange *x, const void *data, gsize size) {
        GByteArray *body = x->answer->body;
        gsize max = is_good(x->answer->status) ? x->request->max : HTTP_ERROR_MAX, n = MIN(size, max - body->len);

        g_byte_array_append(body, data, (guint)n);
        if (n == size)
                return size;
        if (is_good(x->answer->status))
                store_fail(&x->failure, STORE_FAIL_EXHAUSTED, "the answer is larger than %zu bytes", max);
        return 0;
}

static size_t on_body(char *data, size_t one _unused_, size_t size, void *userdata) {
        Exchange *x = userdata;
        const HttpRequest *q = x->request;

        if (operation_full(x->operation)) {
                x->paused = TRUE;
                return CURL_WRITEFUNC_PAUSE;
        }
        read_status(x);
        came(x, size);
        if (!is_good(x->answer->status) || !q->take)
                return keep(x, data, size);
        if ((x->begun || q->begin(q->userdata, x->answer, &x->failure)) &&
            q->take(q->userdata, data, size, &x->failure)) {
                x->begun = TRUE;
                return size;
        }
        x->answer->taken = TRUE;
        return 0;
}

/* PEM files one behind the other; what cannot be read or is too large is passed over. */
static char *read_certificates(const char *directory) {
        g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
        g_autoptr(GString) all = g_string_new(NULL);
        const char *name;
        guint n = 0;

        while (dir && n < CA_FILES_MAX && (name = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(directory, name, NULL), *text = NULL;
                gsize size;

                if (!g_str_has_suffix(name, ".crt") || !g_file_get_contents(path, &text, &size, NULL) ||
                    size > CA_SIZE_MAX)
                        continue;
                g_string_append_len(all, text, (gssize)size);
                g_string_append_c(all, '\n');
                n++;
        }
        return n > 0 ? g_string_free(g_steal_pointer(&all), FALSE) : NULL;
}

static void set_certificates(Exchange *x) {
        g_autofree char *text = x->request->ca_directory ? read_certificates(x->request->ca_directory) : NULL;
        g_autofree char *system = NULL;
        struct curl_blob blob = { .flags = CURL_BLOB_COPY };
        const char *bundle = NULL;
        char *all;

        if (!text)
                return;
        /* These take the place of the system's bundle, which is therefore put in front of them. */
        (void)curl_easy_getinfo(x->easy, CURLINFO_CAINFO, &bundle);
        if (bundle)
                (void)g_file_get_contents(bundle, &system, NULL, NULL);
        all = g_strconcat(system ? system : "", "\n", text, NULL);
        blob.data = all;
        blob.len = strlen(all);
        (void)curl_easy_setopt(x->easy, CURLOPT_CAINFO_BLOB, &blob);
        g_free(all);
}

static void add_header(Exchange *x, const char *name, const char *value) {
        g_autofree char *line = g_strconcat(name, ": ", value, NULL);

        x->headers = curl_slist_append(x->headers, line);
}

/* Where the name that a registry has written leads to shows here, whatever name it is. */
static curl_socket_t on_socket(void *userdata, curlsocktype purpose _unused_, struct curl_sockaddr *to) {
        Exchange *x = userdata;

        if (!address_is_local(&to->addr, to->addrlen) || address_is_proxy(&to->addr, to->addrlen))
                return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
        store_fail(&x->failure, STORE_FAIL_INVALID, "it is this machine, where only a registry of its own may send us");
        return CURL_SOCKET_BAD;
}

static void set_options(Exchange *x, const HttpTimes *times) {
        const HttpRequest *q = x->request;
        CURL *e = x->easy;

        (void)curl_easy_setopt(e, CURLOPT_URL, q->url);
        (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
        (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
        (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        (void)curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        (void)curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(e, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
        (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(times->connect_usec / 1000));
        (void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
        (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->text);
        (void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
        (void)curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
        (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
        (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
        /* Documents alone may come smaller than they are: what is counted and kept is what comes out. */
        if (!q->take)
                (void)curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "gzip");
        if (q->accept)
                add_header(x, "Accept", q->accept);
        if (q->authorization)
                add_header(x, "Authorization", q->authorization);
        if (q->from > 0) {
                g_autofree char *range = g_strdup_printf("bytes=%" G_GUINT64_FORMAT "-", q->from);

                add_header(x, "Range", range);
        }
        (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
        if (q->foreign) {
                (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
                (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
        }
        set_certificates(x);
}

static int wait_msec(const HttpTimes *times) {
        return (int)MIN(WAIT_MSEC, 1 + times->stall_usec / 4000);
}

/* Time that counts as the server's, at most as much as one wait takes: we may have been stopped meanwhile. */
static void spend(Exchange *x, const HttpTimes *times, gint64 begun) {
        gint64 spent = MIN(g_get_monotonic_time() - begun, (gint64)wait_msec(times) * 1000);

        x->waited += spent;
        x->all_waited += spent;
        if (!x->paused) {
                x->lately.waited += spent;
                x->operation->waited += spent;
        }
}

/* Bytes that lead to little (extensions of chunks, packed emptiness) are waited for, however fast they come. */
static void perform(Exchange *x, const HttpTimes *times) {
        guint64 before = x->operation->fetched;
        gint64 begun = g_get_monotonic_time();
        int running;

        (void)curl_multi_perform(x->operation->multi, &running);
        if (x->operation->fetched < before + BUSY_BYTES)
                spend(x, times, begun);
}

/*
 * Waits, and tells whether it goes on at some speed. What counts is time spent waiting for the server alone: not what
 * we take ourselves, on a busy machine or asleep, and not while nobody reads what we have.
 */
static gboolean wait_some(Exchange *x, const HttpTimes *times, GError **error) {
        gint64 begun = g_get_monotonic_time();
        curl_off_t ready = 0;

        if (!operation_wait(x->operation, wait_msec(times), error))
                return FALSE;
        (void)curl_easy_getinfo(x->easy, CURLINFO_PRETRANSFER_TIME_T, &ready);
        if (x->paused || ready == 0 || x->came > 0) {
                x->waited = 0;
                x->came = 0;
        }
        spend(x, times, begun);
        if (ready == 0)
                x->lately = (Pace){ 0 };
        return TRUE;
}

/* FALSE with error: the server has had its time. */
static gboolean check_pace(Exchange *x, const HttpTimes *times, GError **error) {
        gint64 deadline = x->request->deadline_usec, window = 2 * times->stall_usec;

        if (x->waited > times->stall_usec || (deadline > 0 && x->all_waited > deadline))
                return store_fail(error, STORE_FAIL_UNAVAILABLE, "nothing, or not enough, came within %.3g seconds",
                                  (double)(x->waited > times->stall_usec ? times->stall_usec : deadline) /
                                          G_USEC_PER_SEC);
        if (x->lately.waited <= window)
                return TRUE;
        if (x->lately.came < (guint64)window * SPEED_MIN / G_USEC_PER_SEC)
                return store_fail(error, STORE_FAIL_UNAVAILABLE,
                                  "only %" G_GUINT64_FORMAT " bytes came within %.3g seconds, which is not enough",
                                  x->lately.came, (double)window / G_USEC_PER_SEC);
        x->lately = (Pace){ 0 };
        return TRUE;
}

static HttpEnd end_of(CURLcode code, Exchange *x) {
        curl_off_t connected = 0;

        if (code != CURLE_OK && x->failure)
                return HTTP_ENDED;
        switch (code) {
        case CURLE_OK:
                return HTTP_ANSWERED;
        case CURLE_WRITE_ERROR:
                return HTTP_ANSWERED; /* the rest of what an error says is not needed */
        case CURLE_OPERATION_TIMEDOUT:
                (void)curl_easy_getinfo(x->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
                return connected > 0 ? HTTP_LOST : HTTP_UNREACHABLE;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
                return HTTP_UNREACHABLE;
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_WEIRD_SERVER_REPLY:
                return HTTP_FOREIGN;
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
                return HTTP_LOST;
        default:
                return HTTP_ENDED;
        }
}

static void describe(Exchange *x, CURLcode code, const HttpTimes *times, GError **error) {
        const char *text = x->text[0] != '\0' ? x->text : curl_easy_strerror(code);

        if (x->failure)
                g_propagate_error(error, g_steal_pointer(&x->failure));
        else if (code == CURLE_PEER_FAILED_VERIFICATION)
                store_fail(error, STORE_FAIL_UNAVAILABLE,
                           "its certificate is not to be trusted (%s); that of an authority of your own belongs in %s/",
                           text, x->request->ca_directory);
        else if (code == CURLE_SSL_CONNECT_ERROR && strstr(text, "wrong version number"))
                store_fail(error, STORE_FAIL_UNAVAILABLE,
                           "it does not talk TLS, and only Insecure= of [Registry] in davit.conf allows plain HTTP");
        else if (code == CURLE_OPERATION_TIMEDOUT && x->answer->end == HTTP_UNREACHABLE)
                store_fail(error, STORE_FAIL_UNAVAILABLE, "no connection within %.3g seconds",
                           (double)times->connect_usec / G_USEC_PER_SEC);
        else if (x->answer->end == HTTP_FOREIGN)
                store_fail(error, STORE_FAIL_UNAVAILABLE, "what it answers is not HTTP");
        else
                store_fail(error, STORE_FAIL_UNAVAILABLE, "%s", text);
}

/* TRUE: the transfer is over, as *ret says */
static gboolean is_over(Operation *o, CURLcode *ret) {
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(o->multi, &left)))
                if (message->msg == CURLMSG_DONE) {
                        *ret = message->data.result;
                        return TRUE;
                }
        return FALSE;
}

static gboolean run(Exchange *x, const HttpTimes *times, GError **error) {
        Operation *o = x->operation;
        CURLcode code = CURLE_OK;

        for (;;) {
                perform(x, times);
                if (is_over(o, &code))
                        break;
                if (!check_pace(x, times, error)) {
                        x->answer->end = HTTP_LOST;
                        x->answer->slow = TRUE;
                        return FALSE;
                }
                if (!wait_some(x, times, error)) {
                        x->answer->end = HTTP_ENDED;
                        return FALSE;
                }
                if (x->paused && !operation_full(o)) {
                        x->paused = FALSE;
                        code = curl_easy_pause(x->easy, CURLPAUSE_CONT);
                        if (code != CURLE_OK) /* what was kept back is not wanted: nobody else would say so */
                                break;
                }
        }
        read_status(x);
        x->answer->end = end_of(code, x);
        x->answer->untrusted = code == CURLE_PEER_FAILED_VERIFICATION;
        if (x->answer->end == HTTP_ANSWERED)
                return TRUE;
        describe(x, code, times, error);
        return FALSE;
}

/** http_patience() - for how long, in usec, an operation still waits for servers; below zero when that has been enough
 *
 * However many requests and tries there are, each in its own bounds: all of them together have the same least speed.
 * Bytes of layers count, which nobody can pack.
 */
gint64 http_patience(const Operation *o, const HttpTimes *times) {
        gint64 worth = (gint64)(o->progress.bytes_done / SPEED_MIN) * G_USEC_PER_SEC;

        return PATIENCE_STALLS * times->stall_usec + worth - o->waited;
}

/** http_get() - one request
 *
 * @ret: as far as there is an answer, also when this fails; "end" always tells how it ended
 *
 * Return: TRUE with an answer, whatever its status. Errors are the rest of a sentence that begins with a host's name
 * and a colon, except those of who takes the body.
 */
gboolean http_get(Operation *o, const HttpRequest *q, const HttpTimes *times, HttpAnswer *ret, GError **error) {
        Exchange x = { .operation = o, .request = q, .answer = ret, .easy = curl_easy_init() };
        gboolean ok;

        *ret = (HttpAnswer){ .end = HTTP_ENDED, .length = -1, .body = g_byte_array_new() };
        if (http_patience(o, times) < 0) {
                curl_easy_cleanup(x.easy);
                return store_fail(error, STORE_FAIL_UNAVAILABLE,
                                  "%" G_GUINT64_FORMAT " bytes of layers are not enough for %" G_GINT64_FORMAT
                                  " seconds of waiting",
                                  o->progress.bytes_done, o->waited / G_USEC_PER_SEC);
        }
        if (!x.easy)
                return store_fail(error, STORE_FAIL_INTERNAL, "Cannot set up the network library");
        set_options(&x, times);
        (void)curl_multi_add_handle(o->multi, x.easy);
        ok = run(&x, times, error);
        (void)curl_multi_remove_handle(o->multi, x.easy);
        curl_easy_cleanup(x.easy);
        curl_slist_free_all(x.headers);
        g_clear_error(&x.failure);
        return ok;
}
