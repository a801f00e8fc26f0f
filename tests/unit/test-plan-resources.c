/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources as unit properties: name, type and value as systemd's D-Bus interface has them,
 * the controller that must exist, the field that asked; and what is refused.
 */

#include "tests/unit/plan-test.h"

#define NONE "DevicePolicy" /* what is there without any resources */

static const struct {
        const char *resources, *property, *value, *controller;
} good[] = {
        { "{'memory':{'limit':4194304}}", "MemoryMax", "uint64 4194304", "memory" },
        { "{'memory':{'limit':-1}}", "MemoryMax", "uint64 18446744073709551615", "memory" },
        { "{'memory':{'reservation':4096}}", "MemoryLow", "uint64 4096", "memory" },
        { "{'memory':{'limit':5000000,'swap':5000500}}", "MemorySwapMax", "uint64 500", "memory" },
        { "{'memory':{'limit':5000000,'swap':5000000}}", "MemorySwapMax", "uint64 0", "memory" },
        { "{'memory':{'swap':-1}}", "MemorySwapMax", "uint64 18446744073709551615", "memory" },
        { "{'cpu':{'shares':2}}", "CPUWeight", "uint64 1", "cpu" },
        { "{'cpu':{'shares':1024}}", "CPUWeight", "uint64 39", "cpu" },
        { "{'cpu':{'shares':262144}}", "CPUWeight", "uint64 10000", "cpu" },
        { "{'cpu':{'shares':9999999}}", "CPUWeight", "uint64 10000", "cpu" },
        { "{'cpu':{'shares':1}}", "CPUWeight", "uint64 1", "cpu" },
        { "{'cpu':{'idle':1,'shares':5000}}", "CPUWeight", "uint64 0", "cpu" },
        { "{'cpu':{'quota':50000}}", "CPUQuotaPerSecUSec", "uint64 500000", "cpu" },
        { "{'cpu':{'quota':50000,'period':25000}}", "CPUQuotaPerSecUSec", "uint64 2000000", "cpu" },
        { "{'cpu':{'quota':50000,'period':25000}}", "CPUQuotaPeriodUSec", "uint64 25000", "cpu" },
        { "{'cpu':{'cpus':'0'}}", "AllowedCPUs", "[byte 0x01]", "cpuset" },
        { "{'cpu':{'cpus':'0-3,9'}}", "AllowedCPUs", "[byte 0x0f, 0x02]", "cpuset" },
        { "{'cpu':{'cpus':'16'}}", "AllowedCPUs", "[byte 0x00, 0x00, 0x01]", "cpuset" },
        { "{'cpu':{'mems':'1'}}", "AllowedMemoryNodes", "[byte 0x02]", "cpuset" },
        { "{'pids':{'limit':100}}", "TasksMax", "uint64 100", "pids" },
        { "{'pids':{'limit':-1}}", "TasksMax", "uint64 18446744073709551615", "pids" },
        { "{'blockIO':{'weight':10}}", "IOWeight", "uint64 1", "io" },
        { "{'blockIO':{'weight':1000}}", "IOWeight", "uint64 10000", "io" },
        { "{'blockIO':{'weightDevice':[{'major':8,'minor':0,'weight':1000}]}}", "IODeviceWeight",
          "[('/dev/block/8:0', uint64 10000)]", "io" },
        { "{'blockIO':{'throttleReadBpsDevice':[{'major':8,'minor':0,'rate':600},{'major':8,'minor':16,'rate':7}]}}",
          "IOReadBandwidthMax", "[('/dev/block/8:0', uint64 600), ('/dev/block/8:16', 7)]", "io" },
        { "{'blockIO':{'throttleWriteBpsDevice':[{'major':8,'minor':0,'rate':6}]}}", "IOWriteBandwidthMax",
          "[('/dev/block/8:0', uint64 6)]", "io" },
        { "{'blockIO':{'throttleReadIOPSDevice':[{'major':8,'minor':0,'rate':6}]}}", "IOReadIOPSMax",
          "[('/dev/block/8:0', uint64 6)]", "io" },
        { "{'blockIO':{'throttleWriteIOPSDevice':[{'major':8,'minor':0,'rate':6}]}}", "IOWriteIOPSMax",
          "[('/dev/block/8:0', uint64 6)]", "io" },
        { "{'unified':{'memory.max':'max'}}", "MemoryMax", "uint64 18446744073709551615", "memory" },
        { "{'memory':{'limit':5000000},'unified':{'memory.max':'5000008'}}", "MemoryMax", "uint64 5000008", "memory" },
        { "{'unified':{'memory.high':'5'}}", "MemoryHigh", "uint64 5", "memory" },
        { "{'unified':{'memory.low':'5'}}", "MemoryLow", "uint64 5", "memory" },
        { "{'unified':{'memory.min':'5'}}", "MemoryMin", "uint64 5", "memory" },
        { "{'unified':{'memory.swap.max':'0'}}", "MemorySwapMax", "uint64 0", "memory" },
        { "{'unified':{'pids.max':'9'}}", "TasksMax", "uint64 9", "pids" },
        { "{'unified':{'cpu.weight':'100'}}", "CPUWeight", "uint64 100", "cpu" },
        { "{'unified':{'cpu.max':'50000 100000'}}", "CPUQuotaPerSecUSec", "uint64 500000", "cpu" },
        { "{'unified':{'cpu.max':'max'}}", "CPUQuotaPerSecUSec", "uint64 18446744073709551615", "cpu" },
        { "{'unified':{'cpuset.cpus':'1'}}", "AllowedCPUs", "[byte 0x02]", "cpuset" },
        { "{'unified':{'cpuset.mems':'0'}}", "AllowedMemoryNodes", "[byte 0x01]", "cpuset" },
        { "{'unified':{'io.weight':'default 200'}}", "IOWeight", "uint64 200", "io" },
        /* devices: the first two are mknod for all, which every list has */
        { "{}", "DevicePolicy", "'closed'", "" },
        { "{}", "DeviceAllow", "[('char-*', 'm'), ('block-*', 'm')]", "" },
        { "{'devices':[{'allow':false,'access':'rwm'}]}", "DeviceAllow", "[('char-*', 'm'), ('block-*', 'm')]",
          "devices" },
        { "{'devices':[{'allow':true,'type':'c','major':10,'minor':229,'access':'rw'}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm'), ('/dev/char/10:229', 'rw')]", "devices" },
        { "{'devices':[{'allow':true,'type':'b','major':8}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm'), ('block-8', 'rwm')]", "devices" },
        { "{'devices':[{'allow':true,'type':'c','access':'r'}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm'), ('char-*', 'r')]", "devices" },
        { "{'devices':[{'allow':true,'access':'r'}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm'), ('char-*', 'r'), ('block-*', 'r')]", "devices" },
        { "{'devices':[{'allow':true,'type':'b','major':8,'minor':0},{'allow':false,'type':'b','major':8,'minor':0,'"
          "access':'w'}]}",
          "DeviceAllow", "[('char-*', 'm'), ('block-*', 'm'), ('/dev/block/8:0', 'rm')]", "devices" },
        { "{'devices':[{'allow':true,'type':'b','major':8,'minor':0},{'allow':false,'type':'a'}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm')]", "devices" },
        { "{'devices':[{'allow':true,'type':'c','major':-1,'minor':-1,'access':'rw'}]}", "DeviceAllow",
          "[('char-*', 'm'), ('block-*', 'm'), ('char-*', 'rw')]", "devices" },
};

static void test_good(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
                g_autofree char *patch = g_strdup_printf("{'linux':{'resources':%s}}", good[i].resources),
                                *value = NULL;
                g_auto(Built) b = build_patch(patch);
                const PlanUnitProperty *p = find_property(&b, good[i].property);

                g_test_message("%s", good[i].resources);
                g_assert_nonnull(p);
                value = g_variant_print(p->value, TRUE);
                g_assert_cmpstr(value, ==, good[i].value);
                g_assert_false(g_variant_is_floating(p->value));
                g_assert_cmpstr(p->controller, ==, good[i].controller);
                g_assert_true(g_str_has_prefix(p->field, *good[i].controller ? "linux.resources." : ""));
                for (guint j = 0; j < b.result.unit_properties->len; j++)
                        for (guint k = 0; k < j; k++)
                                g_assert_cmpstr(((PlanUnitProperty *)b.result.unit_properties->pdata[j])->name, !=,
                                                ((PlanUnitProperty *)b.result.unit_properties->pdata[k])->name);
        }
}

/* Everything allowed is no policy at all. */
static void test_open(void) {
        g_auto(Built) b = build_patch("{'linux':{'resources':{'devices':[{'allow':true,'type':'a','access':'rwm'}]}}}");

        g_assert_null(find_property(&b, "DevicePolicy"));
        g_assert_null(find_property(&b, "DeviceAllow"));
}

static const struct {
        PlanError code;
        const char *resources, *message;
} bad[] = {
        { PLAN_ERROR_INVALID, "{'memory':{'limit':'1'}}", "memory.limit" },
        { PLAN_ERROR_INVALID, "{'memory':{'limit':-2}}", "memory.limit" },
        { PLAN_ERROR_INVALID, "{'memory':{'swap':5}}", "memory.swap" },
        { PLAN_ERROR_INVALID, "{'memory':{'limit':1024}}",
          "memory.limit: 1024 bytes are too few: the minimum is 4194304 (4 MiB)" },
        { PLAN_ERROR_INVALID, "{'memory':{'limit':4194303}}", "memory.limit" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory.max':'0'}}", "unified.memory.max: 0 bytes are too few" },
        { PLAN_ERROR_INVALID, "{'memory':{'limit':5000000,'swap':4999999}}", "memory.swap" },
        { PLAN_ERROR_INVALID, "{'cpu':{'quota':5}}", "cpu.quota" },
        { PLAN_ERROR_INVALID, "{'cpu':{'period':5}}", "cpu.period" },
        { PLAN_ERROR_INVALID, "{'cpu':{'cpus':'3-1'}}", "cpu.cpus" },
        { PLAN_ERROR_INVALID, "{'cpu':{'cpus':'0,'}}", "cpu.cpus" },
        { PLAN_ERROR_INVALID, "{'cpu':{'cpus':'-1'}}", "cpu.cpus" },
        { PLAN_ERROR_INVALID, "{'cpu':{'cpus':'0-'}}", "cpu.cpus" },
        { PLAN_ERROR_INVALID, "{'cpu':{'cpus':'99999999999999999999'}}", "cpu.cpus" },
        { PLAN_ERROR_INVALID, "{'cpu':{'mems':'x'}}", "cpu.mems" },
        { PLAN_ERROR_INVALID, "{'pids':{'limit':1.5}}", "pids.limit" },
        { PLAN_ERROR_INVALID, "{'blockIO':{'weight':5}}", "blockIO.weight" },
        { PLAN_ERROR_INVALID, "{'blockIO':{'throttleReadBpsDevice':[{'major':8}]}}",
          "blockIO.throttleReadBpsDevice[0].major, minor" },
        { PLAN_ERROR_INVALID, "{'devices':[{}]}", "devices[0].allow" },
        { PLAN_ERROR_INVALID, "{'devices':[{'allow':true,'type':'x'}]}", "devices[0].type" },
        { PLAN_ERROR_INVALID, "{'devices':[{'allow':true,'access':'q'}]}", "devices[0].access" },
        { PLAN_ERROR_INVALID, "{'devices':[{'allow':true,'major':1}]}", "devices[0].type" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory.max':'lots'}}", "unified.memory.max" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory.max':7}}", "unified.memory.max" },
        { PLAN_ERROR_INVALID, "{'unified':{'cpu.max':'5'}}", "unified.cpu.max" },
        { PLAN_ERROR_INVALID, "{'unified':{'cpu.weight':'0'}}", "unified.cpu.weight" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'unified':{'cgroup.freeze':'1'}}", "unified.cgroup.freeze" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'unified':{'cgroup.subtree_control':'+cpu'}}", "unified.cgroup.subtree_control" },
        { PLAN_ERROR_INVALID, "{'unified':{'../memory.max':'1'}}", "unified.../memory.max" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory':'1'}}", "unified.memory" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory.oom.group':''}}", "unified.memory.oom.group" },
        { PLAN_ERROR_INVALID, "{'unified':{'memory.oom.group':'1\\n0'}}", "unified.memory.oom.group" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'devices':[{'allow':true,'type':'c','minor':1}]}", "devices[0].minor" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'devices':[{'allow':true},{'allow':false,'type':'b','major':8}]}",
          "devices[1].allow" },
        { PLAN_ERROR_NOT_SUPPORTED,
          "{'devices':[{'allow':true,'type':'b','major':8},{'allow':false,'type':'b','major':8,'minor':1}]}",
          "devices[1].allow" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'memory':{'swappiness':60}}", "memory.swappiness" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'memory':{'kernel':1}}", "memory.kernel" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'memory':{'disableOOMKiller':true}}", "memory.disableOOMKiller" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'cpu':{'burst':1}}", "cpu.burst" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'cpu':{'realtimeRuntime':1}}", "cpu.realtimeRuntime" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'blockIO':{'leafWeight':10}}", "blockIO.leafWeight" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'hugepageLimits':[{'pageSize':'2MB','limit':1}]}", "hugepageLimits" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'network':{'classID':1}}", "network" },
        { PLAN_ERROR_NOT_SUPPORTED, "{'rdma':{'mlx5_1':{'hcaHandles':3}}}", "rdma" },
};

static void test_refused(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *patch = g_strdup_printf("{'linux':{'resources':%s}}", bad[i].resources);
                g_autofree char *message = g_strconcat("linux.resources.", bad[i].message, NULL);

                refuse_patch(patch, bad[i].code, message);
        }
}

/* Zero, minus one, false and empty ask for nothing. */
static void test_nothing(void) {
        g_auto(Built) b = build_patch("{'linux':{'resources':{'memory':{'limit':0,'kernel':-1,'kernelTCP':-1,'"
                                      "swappiness':0,'disableOOMKiller':false,"
                                      "'useHierarchy':false},'cpu':{'shares':0,'quota':-1,'burst':0,'realtimeRuntime':"
                                      "0,'cpus':'','mems':null},"
                                      "'pids':{'limit':0},'blockIO':{'weight':0,'leafWeight':0,'throttleReadBpsDevice':"
                                      "[]},'network':{},'rdma':{},"
                                      "'hugepageLimits':[],'unified':{},'devices':[]}}}");

        g_assert_cmpuint(b.result.unit_properties->len, ==, 2);
        g_assert_nonnull(find_property(&b, NONE));
}

/* Files of cgroup v2 without a property go into the plan, in order. */
static void test_unified(void) {
        g_auto(Built) b = build_patch("{'linux':{'resources':{'unified':{'memory.oom.group':'1','memory.max':'5000000',"
                                      "'io.max':'8:0 rbps=1','hugetlb.2MB.max':'0'}}}}");
        const plan_str *s = plan_array(b.plan, b.plan->unified);
        g_autoptr(GString) all = g_string_new(NULL);

        g_assert_cmpuint(b.result.unified->len, ==, 3);
        g_assert_cmpuint(b.plan->unified.n, ==, 3);
        for (guint i = 0; i < 3; i++) {
                const PlanUnified *u = b.result.unified->pdata[i];

                g_assert_cmpstr(plan_string(b.plan, s[2 * i]), ==, u->name);
                g_assert_cmpstr(plan_string(b.plan, s[2 * i + 1]), ==, u->value);
                g_string_append_printf(all, "%s of %s, ", u->name, u->controller);
        }
        g_assert_nonnull(strstr(all->str, "memory.oom.group of memory,"));
        g_assert_nonnull(strstr(all->str, "io.max of io,"));
        g_assert_nonnull(strstr(all->str, "hugetlb.2MB.max of hugetlb,"));
        g_assert_nonnull(find_property(&b, "MemoryMax"));
}

/* What a change makes of its half of a pair: 8 MiB and half a CPU in 100 ms hold. */
static const struct {
        const char *resources, *properties;
} changes[] = {
        { "{}", "" },
        { "{'memory':{'limit':-1}}", "MemoryMax=uint64 18446744073709551615 " },
        { "{'memory':{'swap':9388608}}", "MemorySwapMax=uint64 1000000 " },
        { "{'memory':{'limit':9000000,'swap':9000001}}", "MemoryMax=uint64 9000000 MemorySwapMax=uint64 1 " },
        { "{'cpu':{'quota':20000}}", "CPUQuotaPerSecUSec=uint64 200000 CPUQuotaPeriodUSec=uint64 100000 " },
        { "{'cpu':{'period':50000}}", "CPUQuotaPerSecUSec=uint64 1000000 CPUQuotaPeriodUSec=uint64 50000 " },
        { "{'cpu':{'quota':-1}}", "CPUQuotaPerSecUSec=uint64 18446744073709551615 " },
        { "{'pids':{'limit':-1}}", "TasksMax=uint64 18446744073709551615 " },
};

static void test_update(void) {
        const PlanLimits now = { 8388608, 500000, 100000 };

        for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
                g_autoptr(JsonNode) node = json(changes[i].resources);
                g_autoptr(GString) all = g_string_new(NULL);
                g_autoptr(GError) error = NULL;
                g_auto(PlanUpdate) u = {};

                g_assert_true(plan_build_update(node, &now, &u, &error));
                for (guint k = 0; k < u.unit_properties->len; k++) {
                        const PlanUnitProperty *p = u.unit_properties->pdata[k];
                        g_autofree char *value = g_variant_print(p->value, TRUE);

                        g_string_append_printf(all, "%s=%s ", p->name, value);
                }
                g_assert_cmpstr(all->str, ==, changes[i].properties);
        }
}

static void test_update_refused(void) {
        static const char *const texts[] = { "{'devices':[{'allow':true}]}", "{'memory':{'swap':5}}",
                                             "{'memory':{'limit':1}}", "{'cpu':{'quota':5}}", "{'rdma':{'x':{}}}" };
        const PlanLimits now = { G_MAXUINT64, G_MAXUINT64, G_MAXUINT64 };

        for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
                g_autoptr(JsonNode) node = json(texts[i]);
                g_autoptr(GError) error = NULL;
                g_auto(PlanUpdate) u = {};

                g_assert_false(plan_build_update(node, &now, &u, &error));
                g_assert_true(g_str_has_prefix(error->message, "linux.resources."));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/resources/unified", test_unified);
        g_test_add_func("/resources/update", test_update);
        g_test_add_func("/resources/update-refused", test_update_refused);
        g_test_add_func("/resources/good", test_good);
        g_test_add_func("/resources/open", test_open);
        g_test_add_func("/resources/refused", test_refused);
        g_test_add_func("/resources/nothing", test_nothing);
        return g_test_run();
}
