/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of what davitctl makes of its options: mounts, environment, the tables of verbs, a look into JSON.
 * Sentences about mistakes go to stderr and are part of the output.
 * No bus is needed: everything here comes before the first call.
 */

#include <fcntl.h>
#include <string.h>

#include "ctl/container-options.h"
#include "ctl/json.h"
#include "ctl/resource.h"
#include "ctl/verbs.h"
#include "tests/unit/test.h"

static Ctl ctl = { .ns = "default", .failure = EXIT_DAVIT };

typedef int (*AddMount)(Ctl *ctl, Strv *mounts, const char *arg);

static void check_mount(AddMount add, const char *arg, const char *type, const char *source, const char *target,
                        const char *options) {
        _cleanup_strv_ Strv mounts = {};

        ASSERT_EQ(add(&ctl, &mounts, arg), 0);
        ASSERT_EQ(mounts.n, 4);
        ASSERT_STREQ(mounts.v[0], type);
        ASSERT_STREQ(mounts.v[1], source);
        ASSERT_STREQ(mounts.v[2], target);
        ASSERT_STREQ(mounts.v[3], options);
}

static void check_refused(AddMount add, const char *arg) {
        _cleanup_strv_ Strv mounts = {};

        if (add(&ctl, &mounts, arg) != EXIT_DAVIT) {
                printf("'%s' was taken as a mount\n", arg);
                exit(1);
        }
        ASSERT_EQ(mounts.n, 0);
}

static void mounts_are_read(void) {
        check_mount(mount_add_volume, "/a:/b", "bind", "/a", "/b", "rbind,rprivate");
        check_mount(mount_add_volume, "/a:/b:ro", "bind", "/a", "/b", "rbind,rprivate,rro");
        check_mount(mount_add_volume, "/a:/b:ro,rshared", "bind", "/a", "/b", "rbind,rprivate,rro,rshared");
        check_mount(mount_add_tmpfs, "/t", "tmpfs", "tmpfs", "/t", "nosuid,nodev,noexec");
        check_mount(mount_add_tmpfs, "/t:size=1m,exec", "tmpfs", "tmpfs", "/t", "nosuid,nodev,noexec,size=1m,exec");
        check_mount(mount_add_mount, "type=bind,src=/a,dst=/b,readonly", "bind", "/a", "/b", "rbind,rprivate,rro");
        check_mount(mount_add_mount, "source=/a,target=/b,bind-propagation=rslave", "bind", "/a", "/b",
                    "rbind,rprivate,rslave");
        check_mount(mount_add_mount, "type=bind,src=/a,dst=/b,ro=false", "bind", "/a", "/b", "rbind,rprivate");
        check_mount(mount_add_mount, "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700", "tmpfs", "tmpfs", "/t",
                    "nosuid,nodev,noexec,size=1m,mode=700");
}

static void wrong_mounts_are_refused(void) {
        static const char *const volumes[] = { "", "/a", "name:/b", "/a:b", "/a:", ":/b", "./does-not-exist:/b" };
        static const char *const mounts[] = { "",
                                              "type=volume,target=/b",
                                              "type=bind,target=/b",
                                              "type=bind,source=/a",
                                              "type=tmpfs",
                                              "type=bind,source=/a,target=b",
                                              "type=bind,source=/a,target=/b,colour=red" };

        for (size_t i = 0; i < ELEMENTSOF(volumes); i++)
                check_refused(mount_add_volume, volumes[i]);
        for (size_t i = 0; i < ELEMENTSOF(mounts); i++)
                check_refused(mount_add_mount, mounts[i]);
        check_refused(mount_add_tmpfs, "t");
}

static void environment_is_read(void) {
        _cleanup_strv_ Strv env = {};

        ASSERT_EQ(setenv("DAVIT_TEST_SET", "here", 1), 0);
        ASSERT_EQ(unsetenv("DAVIT_TEST_UNSET"), 0);
        ASSERT_EQ(env_add(&ctl, &env, "A=b=c"), 0);
        ASSERT_EQ(env_add(&ctl, &env, "E="), 0);
        ASSERT_EQ(env_add(&ctl, &env, "DAVIT_TEST_SET"), 0);
        ASSERT_EQ(env_add(&ctl, &env, "DAVIT_TEST_UNSET"), 0);
        ASSERT_EQ(env_add(&ctl, &env, ""), EXIT_DAVIT);
        ASSERT_EQ(env_add(&ctl, &env, "=x"), EXIT_DAVIT);
        ASSERT_EQ(env_add_file(&ctl, &env, "/does/not/exist"), EXIT_DAVIT);
        ASSERT_EQ(env.n, 3);
        ASSERT_STREQ(env.v[0], "A=b=c");
        ASSERT_STREQ(env.v[1], "E=");
        ASSERT_STREQ(env.v[2], "DAVIT_TEST_SET=here");
}

static void environment_files_are_read(void) {
        char path[] = "/tmp/davit-test-env-XXXXXX";
        _cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
        static const char text[] = "# comment\n\n  A=1\nB=two words \nDAVIT_TEST_SET";
        _cleanup_strv_ Strv env = {};

        ASSERT_OK(fd);
        ASSERT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        ASSERT_EQ(env_add_file(&ctl, &env, path), 0);
        (void)unlink(path);
        ASSERT_EQ(env.n, 3);
        ASSERT_STREQ(env.v[0], "A=1");
        ASSERT_STREQ(env.v[1], "B=two words ");
        ASSERT_STREQ(env.v[2], "DAVIT_TEST_SET=here");
}

static void options_end_at_the_image(void) {
        ContainerOptions o = CONTAINER_OPTIONS_INIT(&ctl);
        char *words[] = { (char *)"run",   (char *)"-it", (char *)"--memory", (char *)"1m",   (char *)"-eA=b",
                          (char *)"image", (char *)"ls",  (char *)"-d",       (char *)"--rm", NULL };
        char **argv = words;
        int argc = 9;

        ASSERT_EQ(options_parse(&ctl, "run", &argc, &argv, container_option, &o), 0);
        ASSERT_TRUE(o.interactive && o.terminal && !o.detach && !o.remove);
        ASSERT_EQ(o.memory, 1 << 20);
        ASSERT_EQ(o.env.n, 1);
        ASSERT_EQ(argc, 4);
        ASSERT_STREQ(argv[0], "image");
        ASSERT_STREQ(argv[3], "--rm");
        container_options_clear(&o);
}

static int parse_run(Ctl *c, ContainerOptions *o, const char *memory, const char *swap) {
        char *words[] = { (char *)"run", (char *)"--memory-swap", (char *)swap, (char *)"image", (char *)"-m", NULL,
                          NULL };
        char **argv = words;
        int argc = 4, r;

        if (memory) {
                words[3] = (char *)"-m";
                words[4] = (char *)memory;
                words[5] = (char *)"image";
                argc = 6;
        }
        r = options_parse(c, "run", &argc, &argv, container_option, o);
        return r == 0 ? container_options_check(o, argc) : r;
}

static void check_swap(const char *memory, const char *swap, int status, uint64_t alone) {
        Ctl c = { .ns = "default", .failure = EXIT_DAVIT };
        ContainerOptions o = CONTAINER_OPTIONS_INIT(&c);

        ASSERT_EQ(parse_run(&c, &o, memory, swap), status);
        if (status == 0)
                ASSERT_EQ(o.swap, alone);
        container_options_clear(&o);
}

static void swap_is_beside_the_memory(void) {
        check_swap("1g", "3g", 0, UINT64_C(2) << 30);
        check_swap("1g", "1g", 0, 0);
        check_swap("1g", "max", 0, NO_LIMIT);
        check_swap(NULL, "-1", 0, NO_LIMIT);
        check_swap(NULL, "1g", EXIT_DAVIT, 0);
        check_swap("2g", "1g", EXIT_DAVIT, 0);
        check_swap("1g", "0", EXIT_DAVIT, 0);
        check_swap("1g", "-2", EXIT_DAVIT, 0);
        check_swap("max", "1g", EXIT_DAVIT, 0);
        check_swap("1g", "much", EXIT_DAVIT, 0);
}

static void check_said(const Ctl *c, const char *sentence, const char *option, const char *rest) {
        size_t n = 0;

        ASSERT_STREQ(resource_said(c, sentence, &n), option);
        ASSERT_STREQ(sentence + n, rest);
}

/* Errors name the option that was given, and what was not given in the words of who did. */
static void limits_are_called_what_was_typed(void) {
        Ctl c = { .ns = "default" };
        size_t n;

        resource_given(&c, "memory");
        resource_given(&c, "memory-swap");
        resource_given(&c, "rm");
        check_said(&c, "MemoryMax: 1 is too few.", "memory", ": 1 is too few.");
        check_said(&c, "linux.resources.memory.limit: no", "memory", ": no");
        check_said(&c, "MemorySwapMax asks", "memory-swap", " asks");
        check_said(&c, "linux.resources.unified.memory.swap.max: no", "memory-swap", ": no");
        ASSERT_TRUE(!resource_said(&c, "linux.resources.unified.memory.max.more: no", &n));
        ASSERT_TRUE(!resource_said(&c, "MemoryMaximum", &n));
        ASSERT_TRUE(!resource_said(&c, "TasksMax=0 is no limit.", &n));
        ASSERT_TRUE(!resource_said(&c, "What is MemoryMax?", &n));
}

static void namespace_goes_anywhere(void) {
        Ctl c = { .ns = "default", .failure = EXIT_FAILURE };
        char *words[] = { (char *)"run", (char *)"-n", (char *)"other", (char *)"--json", (char *)"image", NULL };
        ContainerOptions o = CONTAINER_OPTIONS_INIT(&c);
        char **argv = words;
        int argc = 5;

        ASSERT_EQ(options_parse(&c, "run", &argc, &argv, container_option, &o), 0);
        ASSERT_STREQ(c.ns, "other");
        ASSERT_TRUE(c.json);
        ASSERT_EQ(argc, 1);
}

static void verbs_are_whole(void) {
        for (size_t i = 0; i < n_verbs; i++) {
                ASSERT_TRUE(verbs[i].run);
                ASSERT_TRUE(*verbs[i].summary);
                for (size_t k = 0; k < i; k++)
                        ASSERT_FALSE(streq(verbs[i].name, verbs[k].name));
                for (const Option *o = verbs[i].options; o && o->name; o++)
                        for (const Option *p = verbs[i].options; p < o; p++)
                                ASSERT_FALSE(p->key == o->key || streq(p->name, o->name));
        }
}

static void json_is_looked_into(void) {
        ASSERT_EQ(json_find_true("{\"process\":{\"terminal\":true}}", "process", "terminal"), 1);
        ASSERT_EQ(json_find_true("{\"a\":[{\"terminal\":true}],\"process\" : { \"x\":{\"terminal\":true}, \"terminal\" "
                                 ": false}}",
                                 "process", "terminal"),
                  0);
        ASSERT_EQ(json_find_true("{\"terminal\":true,\"process\":{\"args\":[\"terminal\",\"true\"]}}", "process",
                                 "terminal"),
                  0);
        ASSERT_EQ(json_find_true("{\"process\":{\"args\":[\"\\\"terminal\\\":true\"]},\"terminal\":true}", "process",
                                 "terminal"),
                  0);
        ASSERT_EQ(json_find_true("", "process", "terminal"), 0);
        ASSERT_EQ(json_find_true("{\"process", "process", "terminal"), 0);
}

TEST_MAIN({ "mounts are read", mounts_are_read }, { "wrong mounts are refused", wrong_mounts_are_refused },
          { "environment is read", environment_is_read }, { "environment files are read", environment_files_are_read },
          { "options end at the image", options_end_at_the_image },
          { "swap is beside the memory", swap_is_beside_the_memory },
          { "limits are called what was typed", limits_are_called_what_was_typed },
          { "namespace goes anywhere", namespace_goes_anywhere }, { "verbs are whole", verbs_are_whole },
          { "json is looked into", json_is_looked_into })
