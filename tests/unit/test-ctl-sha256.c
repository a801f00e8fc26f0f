/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of davitctl's SHA-256 against the examples of its standard and known answers, in pieces of every size. What
 * content get verifies depends on it. Nothing else is needed.
 */

#include <string.h>

#include "ctl/sha256.h"
#include "shared/macros.h"
#include "tests/unit/test.h"

static void check(const void *data, size_t size, const char *digest) {
        char text[SHA256_TEXT_MAX];
        Sha256 s;

        for (size_t piece = 1; piece <= 200; piece += piece < 70 ? 1 : 13) {
                sha256_begin(&s);
                for (size_t at = 0; at < size; at += piece)
                        sha256_add(&s, (const char *)data + at, size - at < piece ? size - at : piece);
                sha256_end(&s, text);
                ASSERT_STREQ(text, digest);
        }
}

static void examples_of_the_standard(void) {
        static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

        check("", 0, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check("abc", 3, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(two, strlen(two), "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void every_length_of_padding(void) {
        static const struct {
                size_t size;
                const char *digest;
        } answers[] = {
                { 1, "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" },
                { 55, "sha256:9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
                { 56, "sha256:b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a" },
                { 57, "sha256:f13b2d724659eb3bf47f2dd6af1accc87b81f09f59f2b75e5c0bed6589dfe8c6" },
                { 63, "sha256:7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34" },
                { 64, "sha256:ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
                { 65, "sha256:635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0" },
                { 119, "sha256:31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb" },
                { 120, "sha256:2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c" },
                { 127, "sha256:c57e9278af78fa3cab38667bef4ce29d783787a2f731d4e12200270f0c32320a" },
                { 128, "sha256:6836cf13bac400e9105071cd6af47084dfacad4e5e302c94bfed24e013afb73e" },
                { 129, "sha256:c12cb024a2e5551cca0e08fce8f1c5e314555cc3fef6329ee994a3db752166ae" },
        };
        char data[130];

        memset(data, 'a', sizeof(data));
        for (size_t i = 0; i < ELEMENTSOF(answers); i++)
                check(data, answers[i].size, answers[i].digest);
}

static void a_million(void) {
        static char data[1000000];
        char text[SHA256_TEXT_MAX];
        Sha256 s;

        memset(data, 'a', sizeof(data));
        sha256_begin(&s);
        sha256_add(&s, data, sizeof(data));
        sha256_end(&s, text);
        ASSERT_STREQ(text, "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_MAIN({ "examples of the standard", examples_of_the_standard },
          { "every length of padding", every_length_of_padding }, { "a million", a_million })
