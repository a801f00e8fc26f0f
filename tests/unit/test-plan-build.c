/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configurations to plans: fields that must arrive, tables of what must be refused and by which
 * name, the runtime-spec's own example documents where they are beside the source tree.
 */

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "plan/capabilities.h"
#include "tests/unit/plan-test.h"

static const char *string(const Built *b, plan_str s) {
        return plan_string(b->plan, s);
}

static const char *nth(const Built *b, struct plan_list list, guint i) {
        g_assert_cmpuint(i, <, list.n);
        return plan_string(b->plan, ((const plan_str *)plan_array(b->plan, list))[i]);
}

static void test_default(void) {
        g_auto(Built) b = build_patch("{}");
        const struct plan *p = b.plan;

        g_assert_cmpuint(p->kind, ==, PLAN_CONTAINER);
        g_assert_cmpuint(p->flags, ==, PLAN_CAPABILITIES | PLAN_LOOPBACK_UP);
        g_assert_cmphex(p->clone_flags, ==,
                        CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET);
        g_assert_cmpstr(string(&b, p->namespace), ==, "default");
        g_assert_cmpstr(string(&b, p->id), ==, "web");
        g_assert_cmpstr(string(&b, p->log_identifier), ==, "web");
        g_assert_cmpstr(string(&b, p->hostname), ==, "web");
        g_assert_cmpstr(nth(&b, p->process.args, 0), ==, "true");
        g_assert_cmpstr(nth(&b, p->process.env, 0), ==, "PATH=" SPEC_DEFAULT_PATH);
        g_assert_cmpstr(nth(&b, p->process.env, 1), ==, "HOSTNAME=web");
        g_assert_cmpstr(string(&b, p->process.cwd), ==, "/");
        g_assert_cmphex(p->process.cap_bounding, ==, 0xa80425fb);
        g_assert_cmphex(p->process.cap_effective, ==, 0xa80425fb);
        g_assert_cmphex(p->process.cap_inheritable | p->process.cap_ambient, ==, 0);
        g_assert_cmpuint(p->rootfs.kind, ==, PLAN_ROOTFS_DIRECTORY);
        g_assert_cmpstr(string(&b, p->rootfs.path), ==, "/srv/root");
        g_assert_cmpuint(p->mounts.n, ==, 7);
        g_assert_cmpuint(p->devices.n, ==, 6);
        g_assert_cmpuint(p->links.n, ==, 6);
        g_assert_cmpuint(p->masked_paths.n, >=, 14);
        g_assert_cmpuint(p->readonly_paths.n, ==, 5);
        g_assert_cmpuint(p->seccomp.program.n, >, 100);
        g_assert_cmpuint(p->stop_signal, ==, 15);
        g_assert_cmpuint(p->stop_timeout_usec, ==, 10000000);
        g_assert_false(b.result.terminal);
        g_assert_cmpstr(b.result.args[0], ==, "true");
        g_assert_null(b.result.args[1]);
}

static void test_process(void) {
        g_auto(Built) b =
                build_patch("{'process':{'terminal':true,'consoleSize':{'width':80,'height':24},'cwd':'/"
                            "w','noNewPrivileges':true,'oomScoreAdj':-17,"
                            "'apparmorProfile':'a','selinuxLabel':'s','env':['A=1','B=','A=2'],'args':['x','','y'],"
                            "'user':{'uid':1000,'gid':1001,'umask':18,'additionalGids':[5,6]},"
                            "'rlimits':[{'type':'RLIMIT_NOFILE','soft':1024,'hard':18446744073709551615},{'type':'"
                            "RLIMIT_CORE','soft':0,'hard':0}]}}");
        const struct plan_process *p = &b.plan->process;
        const struct plan_rlimit *limits = plan_array(b.plan, p->rlimits);
        const guint32 *groups = plan_array(b.plan, p->groups);

        g_assert_true(b.result.terminal);
        g_assert_cmphex(b.plan->flags, ==,
                        PLAN_TERMINAL | PLAN_NO_NEW_PRIVS | PLAN_OOM_SCORE_ADJ | PLAN_UMASK | PLAN_LOOPBACK_UP |
                                PLAN_CAPABILITIES);
        g_assert_cmpuint(p->console_width, ==, 80);
        g_assert_cmpuint(p->console_height, ==, 24);
        g_assert_cmpuint(p->args.n, ==, 3);
        g_assert_cmpstr(nth(&b, p->args, 1), ==, "");
        g_assert_cmpuint(p->env.n, ==, 3);
        g_assert_cmpstr(nth(&b, p->env, 0), ==, "A=2");
        g_assert_cmpstr(nth(&b, p->env, 1), ==, "B=");
        g_assert_cmpuint(p->uid, ==, 1000);
        g_assert_cmpuint(p->gid, ==, 1001);
        g_assert_cmpuint(p->umask, ==, 022);
        g_assert_cmpuint(p->groups.n, ==, 2);
        g_assert_cmpuint(groups[1], ==, 6);
        g_assert_cmpint(p->oom_score_adj, ==, -17);
        g_assert_cmpstr(string(&b, p->apparmor_profile), ==, "a");
        g_assert_cmpstr(string(&b, p->selinux_label), ==, "s");
        g_assert_cmpuint(p->rlimits.n, ==, 2);
        g_assert_cmpuint(limits[0].resource, ==, RLIMIT_NOFILE);
        g_assert_cmpuint(limits[0].hard, ==, G_MAXUINT64);
        g_assert_cmphex(p->cap_effective, ==, 0xa80425fb); /* a number in uid is taken as the specification says it */
}

/* A user in the image's form begins without capabilities, root excepted; the bounding set stays. */
static void test_user(void) {
        static const struct {
                const char *user;
                gboolean root;
        } users[] = { { "root", TRUE },  { "0", TRUE },       { "root:adm", TRUE }, { "0:0", TRUE }, { "www", FALSE },
                      { "1000", FALSE }, { "1000:0", FALSE }, { "rooty", FALSE },   { "00", FALSE } };

        for (gsize i = 0; i < G_N_ELEMENTS(users); i++) {
                g_autofree char *patch = g_strdup_printf("{'process':{'user':{'username':'%s'}}}", users[i].user);
                g_auto(Built) b = build_patch(patch);

                g_assert_cmpstr(string(&b, b.plan->process.user), ==, users[i].user);
                g_assert_cmphex(b.plan->process.cap_bounding, ==, 0xa80425fb);
                g_assert_cmphex(b.plan->process.cap_effective, ==, users[i].root ? 0xa80425fb : 0);
                g_assert_cmphex(b.plan->process.cap_permitted, ==, users[i].root ? 0xa80425fb : 0);
        }
}

static void test_ambient(void) {
        g_auto(Built) b = build_patch(
                "{'process':{'capabilities':{'inheritable':['CAP_KILL'],'ambient':['CAP_KILL','CAP_CHOWN']}}}");

        g_assert_cmphex(b.plan->process.cap_ambient, ==, 1 << 5);
}

static void test_namespaces(void) {
        g_auto(Built) b =
                build_patch("{'hostname':'h','domainname':'d','linux':{'namespaces':[{'type':'mount'},{'type':'network'"
                            ",'path':'/run/netns/a'},"
                            "{'type':'user'},{'type':'time','path':''},{'type':'uts','path':'/proc/7/ns/uts'}],"
                            "'uidMappings':[{'containerID':0,'hostID':100000,'size':1000},{'containerID':1000,'hostID':"
                            "0,'size':1}],"
                            "'gidMappings':[{'containerID':0,'hostID':100000,'size':65536}]}}");
        const struct plan_namespace *join = plan_array(b.plan, b.plan->namespaces);
        const struct plan_id_map *map = plan_array(b.plan, b.plan->uid_map);

        g_assert_cmphex(b.plan->clone_flags, ==, CLONE_NEWNS | CLONE_NEWUSER | 0x80);
        g_assert_false(b.plan->flags & PLAN_LOOPBACK_UP);
        g_assert_cmpuint(b.plan->namespaces.n, ==, 2);
        g_assert_cmphex(join[0].clone_flag, ==, CLONE_NEWNET);
        g_assert_cmpstr(string(&b, join[0].path), ==, "/run/netns/a");
        g_assert_cmpstr(string(&b, b.plan->hostname), ==, "h");
        g_assert_cmpstr(string(&b, b.plan->domainname), ==, "d");
        g_assert_cmpuint(b.plan->uid_map.n, ==, 2);
        g_assert_cmpuint(map[0].host_id, ==, 100000);
        g_assert_cmpuint(b.plan->gid_map.n, ==, 1);
}

static void test_root(void) {
        static const char *const lowers[] = { "/l/b", "/l/a", NULL };
        const PlanRootfs overlay = { .lowers = lowers, .upper = "/u", .work = "/w", .ephemeral = TRUE };
        PlanContext context = test_context;
        g_autoptr(JsonNode) spec =
                patched("{'root':{'path':'/own','readonly':true},'linux':{'rootfsPropagation':'rshared'}}");

        context.rootfs = &overlay;
        context.stop_signal = "SIGINT";
        context.n_listen_fds = 3;
        {
                g_auto(Built) b = build_spec(spec, &context);

                g_assert_cmpuint(b.plan->rootfs.kind, ==, PLAN_ROOTFS_OVERLAY);
                g_assert_cmpstr(nth(&b, b.plan->rootfs.lowers, 0), ==, "/l/b");
                g_assert_cmpstr(string(&b, b.plan->rootfs.upper), ==, "/u");
                g_assert_cmpstr(string(&b, b.plan->rootfs.work), ==, "/w");
                g_assert_true(b.plan->flags & PLAN_EPHEMERAL);
                g_assert_true(b.plan->flags & PLAN_ROOTFS_READONLY);
                g_assert_cmphex(b.plan->rootfs.propagation, ==, MS_SHARED | MS_REC);
                g_assert_cmpuint(b.plan->stop_signal, ==, 2);
                g_assert_cmpuint(b.plan->process.n_listen_fds, ==, 3);
        }
        context.rootfs = NULL;
        {
                g_auto(Built) b = build_spec(spec, &context);

                g_assert_cmpuint(b.plan->rootfs.kind, ==, PLAN_ROOTFS_DIRECTORY);
                g_assert_cmpstr(string(&b, b.plan->rootfs.path), ==, "/own");
        }
}

static void test_devices(void) {
        g_auto(Built) b =
                build_patch("{'linux':{'devices':[{'path':'/dev/"
                            "fuse','type':'c','major':10,'minor':229,'fileMode':432,'uid':1,'gid':2},"
                            "{'path':'/dev/null','type':'u','major':1,'minor':3},{'path':'/dev/pipe','type':'p'},"
                            "{'path':'/dev/sda','type':'b','major':8,'minor':0,'fileMode':25008}]}}");
        const struct plan_device *d = plan_array(b.plan, b.plan->devices);

        g_assert_cmpuint(b.plan->devices.n, ==, 4 + 5); /* null takes the default one's place */
        g_assert_cmpstr(string(&b, d[0].path), ==, "/dev/fuse");
        g_assert_cmphex(d[0].type, ==, S_IFCHR);
        g_assert_cmphex(d[0].mode, ==, 0660);
        g_assert_cmpuint(d[0].gid, ==, 2);
        g_assert_cmphex(d[1].mode, ==, 0666);
        g_assert_cmphex(d[2].type, ==, S_IFIFO);
        g_assert_cmphex(d[3].type, ==, S_IFBLK);
        g_assert_cmphex(d[3].mode, ==, 0660);
        {
                g_auto(Built) bound = build_patch(
                        "{'mounts':[{'destination':'/dev','type':'bind','source':'/dev','options':['rbind']}]}");

                g_assert_cmpuint(bound.plan->devices.n, ==, 0);
                g_assert_cmpuint(bound.plan->links.n, ==, 0);
        }
}

static void test_sysctl(void) {
        g_auto(Built) b = build_patch("{'linux':{'sysctl':{'net.ipv4.ip_local_port_range':'1024 "
                                      "65000','kernel.shm_rmid_forced':'1','fs.mqueue.msg_max':'9'}}}");

        g_assert_cmpuint(b.plan->sysctls.n, ==, 3);
}

static void test_exec(void) {
        g_autoptr(JsonNode) spec = patched("{'process':{'user':{'uid':3}}}");
        g_auto(Built) container = build_spec(spec, &test_context), b = { .result = PLAN_RESULT_NULL };
        g_autoptr(JsonNode) process = NULL;
        g_autoptr(GError) error = NULL;

        process = spec_exec_process(spec,
                                    &(SpecOptions){ .command = (const char *const[]){ "id", NULL },
                                                    .cap_add = (const char *const[]){ "SYS_ADMIN", NULL } },
                                    &error);
        g_assert_no_error(error);
        g_assert_true(plan_build_exec(spec, process, "e1", &test_context, &b.result, &error));
        built_map(&b);
        g_assert_cmpuint(b.plan->kind, ==, PLAN_EXEC);
        g_assert_cmpstr(string(&b, b.plan->exec_id), ==, "e1");
        g_assert_cmpstr(nth(&b, b.plan->process.args, 0), ==, "id");
        g_assert_cmpuint(b.plan->process.uid, ==, 3);
        g_assert_cmpuint(b.plan->mounts.n, ==, 0);
        g_assert_cmpuint(b.result.unit_properties->len, ==, 0);
        g_assert_true(b.plan->process.cap_bounding & 1 << 21);
        /* the container's filter, whatever the exec may do more */
        g_assert_cmpuint(b.plan->seccomp.program.n, ==, container.plan->seccomp.program.n);
        g_assert_cmpint(memcmp(plan_array(b.plan, b.plan->seccomp.program),
                               plan_array(container.plan, container.plan->seccomp.program),
                               b.plan->seccomp.program.n * 8),
                        ==, 0);
}

static const struct {
        const char *patch, *message;
} invalid[] = {
        { "{'process':{'execCPUAffinity':{'initial':'a'}}}", "process.execCPUAffinity.initial" },
        { "{'process':{'execCPUAffinity':{'final':'3-1'}}}", "process.execCPUAffinity.final" },
        { "{'linux':{'memoryPolicy':{'mode':'MPOL_NEVER','nodes':'0'}}}", "linux.memoryPolicy.mode" },
        { "{'linux':{'memoryPolicy':{'nodes':'0'}}}", "linux.memoryPolicy.mode" },
        { "{'linux':{'memoryPolicy':{'mode':'MPOL_BIND','nodes':'x'}}}", "linux.memoryPolicy.nodes" },
        { "{'linux':{'memoryPolicy':{'mode':'MPOL_BIND','nodes':'0','flags':['x']}}}", "linux.memoryPolicy.flags" },
        { "{'linux':{'memoryPolicy':{'mode':'MPOL_LOCAL','nodes':'0'}}}", "linux.memoryPolicy.nodes" },
        { "{'ociVersion':null}", "ociVersion" },
        { "{'ociVersion':1}", "ociVersion" },
        { "{'process':null}", "process" },
        { "{'process':[]}", "process" },
        { "{'process':{'args':null}}", "process.args" },
        { "{'process':{'args':[]}}", "process.args" },
        { "{'process':{'args':['']}}", "process.args[0]" },
        { "{'process':{'args':['a',1]}}", "process.args[1]" },
        { "{'process':{'cwd':null}}", "process.cwd" },
        { "{'process':{'cwd':'w'}}", "process.cwd" },
        { "{'process':{'cwd':''}}", "process.cwd" },
        { "{'process':{'env':['A']}}", "process.env[0]" },
        { "{'process':{'env':['=1']}}", "process.env[0]" },
        { "{'process':{'terminal':1}}", "process.terminal" },
        { "{'process':{'terminal':true,'consoleSize':{'width':65536,'height':1}}}", "process.consoleSize.width" },
        { "{'process':{'oomScoreAdj':1001}}", "process.oomScoreAdj" },
        { "{'process':{'user':{'uid':-1}}}", "process.user.uid" },
        { "{'process':{'user':{'uid':4294967295}}}", "process.user.uid" },
        { "{'process':{'user':{'gid':4294967296}}}", "process.user.gid" },
        { "{'process':{'user':{'uid':1.5}}}", "process.user.uid" },
        { "{'process':{'user':{'uid':'0'}}}", "process.user.uid" },
        { "{'process':{'user':{'umask':512}}}", "process.user.umask" },
        { "{'process':{'user':{'additionalGids':[-1]}}}", "process.user.additionalGids[0]" },
        { "{'process':{'user':{'username':':g'}}}", "process.user.username" },
        { "{'process':{'user':{'username':'u:'}}}", "process.user.username" },
        { "{'process':{'user':{'username':'u:g:x'}}}", "process.user.username" },
        { "{'process':{'user':{'username':'u\\n'}}}", "process.user.username" },
        { "{'process':{'capabilities':{'bounding':['CAP_NOSUCH']}}}", "process.capabilities.bounding[0]" },
        { "{'process':{'capabilities':{'bounding':['NET_RAW']}}}", "process.capabilities.bounding[0]" },
        { "{'process':{'capabilities':{'effective':['CAP_SYS_ADMIN']}}}", "process.capabilities.effective" },
        { "{'process':{'rlimits':[{'type':'RLIMIT_X','soft':1,'hard':1}]}}", "process.rlimits[0].type" },
        { "{'process':{'rlimits':[{'type':'NOFILE','soft':1,'hard':1}]}}", "process.rlimits[0].type" },
        { "{'process':{'rlimits':[{'type':'RLIMIT_AS','soft':1}]}}", "process.rlimits[0].soft, hard" },
        { "{'process':{'rlimits':[{'type':'RLIMIT_AS','soft':2,'hard':1}]}}", "process.rlimits[0].soft" },
        { "{'process':{'rlimits':[{'type':'RLIMIT_AS','soft':1,'hard':1},{'type':'RLIMIT_AS','soft':1,'hard':1}]}}",
          "process.rlimits[1].type" },
        { "{'hostname':'a b'}", "hostname" },
        { "{'hostname':'a\\nb'}", "hostname" },
        { "{'hostname':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}", "hostname" },
        { "{'hostname':'h','linux':{'namespaces':[{'type':'mount'}]}}", "hostname" },
        { "{'domainname':'d','linux':{'namespaces':[{'type':'mount'}]}}", "domainname" },
        { "{'linux':{'namespaces':[{'type':'mount'},{'type':'mount'}]}}", "linux.namespaces[1].type" },
        { "{'linux':{'namespaces':[{'type':'mount'},{'type':'pid'},{'type':'pid','path':'/x'}]}}",
          "linux.namespaces[2].type" },
        { "{'linux':{'namespaces':[{'type':'disk'}]}}", "linux.namespaces[0].type" },
        { "{'linux':{'namespaces':[{}]}}", "linux.namespaces[0].type" },
        { "{'linux':{'namespaces':[{'type':'pid','path':'ns'}]}}", "linux.namespaces[0].path" },
        { "{'linux':{'namespaces':['pid']}}", "linux.namespaces[0]" },
        { "{'linux':{'namespaces':[{'type':'mount'},{'type':'user'}]}}", "linux.uidMappings" },
        { "{'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':1}]}}", "linux.uidMappings" },
        { "{'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':0}]}}", "linux.uidMappings[0].size" },
        { "{'linux':{'uidMappings':[{'containerID':0,'hostID':0}]}}", "linux.uidMappings[0].size" },
        { "{'linux':{'uidMappings':[{'containerID':4294967295,'hostID':0,'size':2}]}}", "linux.uidMappings[0].size" },
        { "{'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':9},{'containerID':8,'hostID':100,'size':1}]}}",
          "linux.uidMappings[1]: overlaps" },
        { "{'linux':{'rootfsPropagation':'both'}}", "linux.rootfsPropagation" },
        { "{'linux':{'maskedPaths':['proc']}}", "linux.maskedPaths" },
        { "{'linux':{'readonlyPaths':['/a\\nb']}}", "linux.readonlyPaths" },
        { "{'linux':{'devices':[{'path':'/dev/x','type':'c','major':1}]}}", "linux.devices[0].major, minor" },
        { "{'linux':{'devices':[{'path':'/dev/x','type':'d','major':1,'minor':1}]}}", "linux.devices[0].type" },
        { "{'linux':{'devices':[{'path':'dev/x','type':'p'}]}}", "linux.devices[0].path" },
        { "{'linux':{'devices':[{'type':'p'}]}}", "linux.devices[0].path" },
        { "{'linux':{'devices':[{'path':'/dev/x','type':'p'},{'path':'/dev/x','type':'p'}]}}",
          "linux.devices[1].path" },
        { "{'linux':{'devices':[{'path':'/dev/x','type':'c','major':-1,'minor':1}]}}", "linux.devices[0].major" },
        { "{'linux':{'sysctl':{'kernel.hostname':'x'}}}", "linux.sysctl.kernel.hostname: use \"hostname\"" },
        { "{'linux':{'sysctl':{'kernel.domainname':'x'}}}", "linux.sysctl.kernel.domainname" },
        { "{'linux':{'sysctl':{'kernel.shm_rmid_forced':'1+kernel.core_pattern=|/x'}}}",
          "linux.sysctl.kernel.shm_rmid_forced: the value" },
        { "{'linux':{'sysctl':{'kernel.shm_rmid_forced':'1\\n2'}}}", "linux.sysctl.kernel.shm_rmid_forced: the value" },
        { "{'linux':{'sysctl':{'kernel.shm_rmid_forced+kernel.core_pattern':'1'}}}", "linux.sysctl: " },
        { "{'linux':{'sysctl':{'net.../../kernel/core_pattern':'1'}}}", "linux.sysctl: " },
        { "{'linux':{'sysctl':{'net/../kernel/core_pattern':'1'}}}", "linux.sysctl: " },
        { "{'linux':{'sysctl':{'net.core.somaxconn ':'1'}}}", "linux.sysctl: " },
        { "{'linux':{'sysctl':{'':'1'}}}", "linux.sysctl: " },
        { "{'linux':{'sysctl':{'net.core.somaxconn':1}}}", "linux.sysctl.net.core.somaxconn" },
        { "{'linux':{'sysctl':{'net.core.somaxconn':'1'},'namespaces':[{'type':'mount'}]}}",
          "linux.sysctl.net.core.somaxconn: needs" },
        { "{'linux':{'sysctl':{'net.core.somaxconn':'1'},'namespaces':[{'type':'mount'},{'type':'network','path':'/"
          "proc/self/ns/net'}]}}",
          "linux.sysctl.net.core.somaxconn: needs" },
        { "{'linux':{'sysctl':{'kernel.msgmax':'1'},'namespaces':[{'type':'mount'}]}}",
          "linux.sysctl.kernel.msgmax: needs" },
        { "{'annotations':{'org.opencontainers.image.stopSignal':'SIGNOSUCH'}}", "stop signal" },
        { "{'annotations':{'org.davit.seccomp':'nosuch'}}", "annotations.org.davit.seccomp" },
        { "{'process':{'scheduler':{'policy':'SCHED_NOSUCH'}}}", "process.scheduler.policy" },
        { "{'process':{'scheduler':{'policy':'SCHED_FIFO'}}}", "process.scheduler.priority" },
        { "{'process':{'scheduler':{'policy':'SCHED_OTHER','nice':20}}}", "process.scheduler.nice" },
        { "{'process':{'scheduler':{'policy':'SCHED_OTHER','runtime':1}}}", "process.scheduler" },
        { "{'process':{'ioPriority':{'class':'IOPRIO_CLASS_BE','priority':8}}}", "process.ioPriority.priority" },
        { "{'process':{'ioPriority':{'priority':1}}}", "process.ioPriority.class" },
        { "{'linux':{'personality':{'domain':'BSD'}}}", "linux.personality.domain" },
        { "{'linux':{'timeOffsets':{'monotonic':{'secs':1}}}}", "linux.timeOffsets" },
};

static const struct {
        const char *patch, *message;
} not_supported[] = {
        { "{'ociVersion':'2.0.0'}", "ociVersion" },
        { "{'hooks':{'prestart':[{'path':'/x'}]}}", "hooks.prestart" },
        { "{'hooks':{'poststop':[{'path':'/x'}]}}", "hooks.poststop" },
        { "{'vm':{'kernel':{'path':'/x'}}}", "vm.kernel" },
        { "{'windows':{'layerFolders':['c']}}", "windows.layerFolders" },
        { "{'solaris':{'milestone':'m'}}", "solaris.milestone" },
        { "{'process':{'commandLine':'x'}}", "process.commandLine" },
        { "{'linux':{'intelRdt':{'closID':'x'}}}", "linux.intelRdt" },
        { "{'linux':{'personality':{'domain':'LINUX','flags':['x']}}}", "linux.personality.flags" },
        { "{'linux':{'netDevices':{'eth0':{'name':'e'}}}}", "linux.netDevices" },
        { "{'linux':{'cgroupsPath':'/x'}}", "linux.cgroupsPath" },
        { "{'linux':{'namespaces':[]}}", "linux.namespaces" },
        { "{'linux':{'namespaces':null}}", "linux.namespaces" },
        { "{'linux':{'namespaces':[{'type':'mount','path':'/x'}]}}", "linux.namespaces[0].path" },
        { "{'linux':{'sysctl':{'kernel.core_pattern':'x'}}}", "linux.sysctl.kernel.core_pattern" },
        { "{'linux':{'sysctl':{'vm.swappiness':'1'}}}", "linux.sysctl.vm.swappiness" },
        { "{'linux':{'sysctl':{'kernel.shmmaxx':'1'}}}", "linux.sysctl.kernel.shmmaxx" },
        { "{'linux':{'sysctl':{'network.x':'1'}}}", "linux.sysctl.network.x" },
};

static void test_refused(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(invalid); i++)
                refuse_patch(invalid[i].patch, PLAN_ERROR_INVALID, invalid[i].message);
        for (gsize i = 0; i < G_N_ELEMENTS(not_supported); i++)
                refuse_patch(not_supported[i].patch, PLAN_ERROR_NOT_SUPPORTED, not_supported[i].message);
}

/* Empty asks for nothing; properties nobody has defined are ignored (runtime-spec, "Extensibility"). */
static void test_empty(void) {
        static const char *const fine[] = {
                "{'hooks':{}}",
                "{'hooks':{'prestart':[]}}",
                "{'hooks':null}",
                "{'vm':{}}",
                "{'linux':{'intelRdt':{}}}",
                "{'linux':{'cgroupsPath':''}}",
                "{'linux':{'mountLabel':''}}",
                "{'linux':{'resources':{}}}",
                "{'linux':{'devices':null}}",
                "{'linux':{'personality':null}}",
                "{'process':{'rlimits':[]}}",
                "{'process':{'capabilities':null}}",
                "{'process':{'consoleSize':{'width':9999,'height':0}}}",
        };

        for (gsize i = 0; i < G_N_ELEMENTS(fine); i++) {
                g_auto(Built) b = build_patch(fine[i]);

                g_assert_cmpuint(b.plan->kind, ==, PLAN_CONTAINER);
        }
}

/* The runtime-spec's examples are about syntax: what is left after taking out what is refused must build. */
static const char *const example_patch =
        "{'hooks':null,'root':{'path':'/"
        "r'},'linux':{'cgroupsPath':null,'timeOffsets':null,'mountLabel':null,'netDevices':null,"
        "'resources':{'network':null,'hugepageLimits':null,'rdma':null,'memory':null,'cpu':{'burst':null,'"
        "realtimeRuntime':null,"
        "'realtimePeriod':null},'blockIO':null}}}";

static void build_example(const char *directory, const char *name) {
        g_autofree char *path = g_build_filename(directory, name, NULL), *text = NULL;
        g_autoptr(JsonNode) document = NULL, patch = json(example_patch), spec = NULL, with_process = NULL;
        g_auto(PlanResult) raw = PLAN_RESULT_NULL, result = PLAN_RESULT_NULL;
        g_autoptr(GError) error = NULL;
        PlanContext context = test_context;
        gsize size;

        g_assert_true(g_file_get_contents(path, &text, &size, NULL));
        document = spec_parse(text, size, &error);
        g_assert_no_error(error);
        context.rootfs = NULL;
        if (!plan_build(document, &context, &raw, &error)) { /* root.path is relative in all of them */
                g_assert_nonnull(error);
                g_clear_error(&error);
        }
        spec = spec_merge_patch(document, patch);
        json_node_unref(patch);
        patch = json(json_object_has_member(json_node_get_object(spec), "process")
                             ? "{}"
                             : "{'process':{'args':['x'],'cwd':'/'}}");
        with_process = spec_merge_patch(spec, patch);
        if (!strstr(text, "\"namespaces\"")) {
                json_node_unref(patch);
                json_node_unref(spec);
                patch = json("{'linux':{'namespaces':[{'type':'mount'}]}}");
                spec = g_steal_pointer(&with_process);
                with_process = spec_merge_patch(spec, patch);
        }
        if (!plan_build(with_process, &context, &result, &error))
                g_error("%s: %s", name, error->message);
}

static void test_examples(void) {
        static const char *const good[] = { "spec-example.json", "minimal-for-start.json", "linux-rdma.json",
                                            "linux-netdevice.json" };
        const char *given = g_getenv("DAVIT_RUNTIME_SPEC");
        g_autofree char *beside = g_build_filename(TEST_SRCDIR, "..", "shared", "data", "oci-runtime-spec", NULL);
        g_autofree char *directory = g_build_filename(given ? given : beside, "test", "config", "good", NULL);

        if (!g_file_test(directory, G_FILE_TEST_IS_DIR)) {
                g_test_skip("the runtime-spec's examples are not there");
                return;
        }
        for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
                build_example(directory, good[i]);
}

/* With the program cached a plan takes some tens of microseconds; ten times that would be a mistake somewhere. */
static void test_time(void) {
        g_autoptr(JsonNode) spec = patched("{}");
        gint64 best = G_MAXINT64;

        for (int i = 0; i < 200; i++) {
                gint64 begun = g_get_monotonic_time(), spent;
                g_auto(Built) b = build_spec(spec, &test_context);

                spent = g_get_monotonic_time() - begun;
                if (i == 0)
                        g_test_message("%zu bytes, first %" G_GINT64_FORMAT " us", b.size, spent);
                best = MIN(best, spent);
        }
        g_test_message("best of 200: %" G_GINT64_FORMAT " us", best);
        g_assert_cmpint(best, <, 5000); /* sanitizers included */
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/build/default", test_default);
        g_test_add_func("/build/process", test_process);
        g_test_add_func("/build/user", test_user);
        g_test_add_func("/build/ambient", test_ambient);
        g_test_add_func("/build/namespaces", test_namespaces);
        g_test_add_func("/build/rootfs", test_root);
        g_test_add_func("/build/devices", test_devices);
        g_test_add_func("/build/sysctl", test_sysctl);
        g_test_add_func("/build/exec", test_exec);
        g_test_add_func("/build/refused", test_refused);
        g_test_add_func("/build/empty", test_empty);
        g_test_add_func("/build/examples", test_examples);
        g_test_add_func("/build/time", test_time);
        return g_test_run();
}
