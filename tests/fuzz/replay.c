/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Stands in for libFuzzer where no fuzzing is done: feeds a target every file of its corpus.
 *
 * `make check` runs each target so, plain and under the sanitizers; what a fuzzer once found stays found. The corpus is
 * the folder that is named like the target, fuzz-tar has corpus/tar. An empty or missing corpus is a failure.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static char *corpus_of(const char *program) {
        const char *srcdir = g_getenv("srcdir") ? g_getenv("srcdir") : ".";
        const char *name = strstr(program, "fuzz-");
        const char *next;

        while (name && (next = strstr(name + 1, "fuzz-")))
                name = next;
        return name ? g_build_filename(srcdir, "tests/fuzz/corpus", name + strlen("fuzz-"), NULL) : NULL;
}

static guint replay_directory(const char *path) {
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;
        guint n = 0;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL), *data = NULL;
                gsize size;

                if (!g_file_get_contents(file, &data, &size, NULL))
                        continue;
                /* Exactly as long as it is, so that a read beyond its end is seen. */
                uint8_t *exact = malloc(size);
                if (size > 0)
                        memcpy(exact, data, size);
                (void)LLVMFuzzerTestOneInput(exact, size);
                free(exact);
                n++;
        }
        if (dir)
                g_dir_close(dir);
        return n;
}

int main(int argc, char **argv) {
        g_autofree char *corpus = argc > 1 ? g_strdup(argv[1]) : corpus_of(argv[0]);
        guint n = corpus ? replay_directory(corpus) : 0;

        printf("%u inputs of %s\n", n, corpus ? corpus : "nowhere");
        return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
