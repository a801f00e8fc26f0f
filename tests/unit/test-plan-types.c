/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every value of a rich configuration in turn replaced by one of every other kind: a plan comes out
 * that passes the reader's check, or an error that says something; never anything else.
 */

#include "tests/unit/plan-test.h"

static const char *const rich =
        "{'hostname':'h','domainname':'d','root':{'path':'/r','readonly':true},"
        "'annotations':{'org.opencontainers.image.stopSignal':'SIGHUP','a':'b'},"
        "'process':{'terminal':true,'consoleSize':{'width':1,'height':2},'cwd':'/"
        "','args':['a','b'],'env':['A=1'],'oomScoreAdj':1,"
        "'apparmorProfile':'p','selinuxLabel':'l','noNewPrivileges':true,"
        "'user':{'uid':1,'gid':2,'umask':3,'additionalGids':[4],'username':'u:g'},"
        "'rlimits':[{'type':'RLIMIT_CORE','soft':1,'hard':2}],"
        "'capabilities':{'bounding':['CAP_KILL'],'permitted':['CAP_KILL'],'effective':['CAP_KILL'],'inheritable':['CAP_"
        "KILL'],"
        "'ambient':['CAP_KILL']}},"
        "'mounts':[{'destination':'/m','type':'bind','source':'/s','options':['rbind','ro'],"
        "'uidMappings':[{'containerID':0,'hostID':1,'size':2}],'gidMappings':[{'containerID':0,'hostID':1,'size':2}]},"
        "{'destination':'/t','type':'tmpfs','options':['size=1k']}],"
        "'hooks':{'prestart':[]},"
        "'linux':{'namespaces':[{'type':'mount'},{'type':'uts'},{'type':'user'},{'type':'ipc'},{'type':'network','path'"
        ":'/n'}],"
        "'uidMappings':[{'containerID':0,'hostID':1,'size':2}],'gidMappings':[{'containerID':0,'hostID':1,'size':2}],"
        "'devices':[{'path':'/dev/x','type':'c','major':1,'minor':2,'fileMode':3,'uid':4,'gid':5}],"
        "'maskedPaths':['/a'],'readonlyPaths':['/b'],'rootfsPropagation':'private','sysctl':{'kernel.msgmax':'1'},"
        "'cgroupsPath':'','intelRdt':{},'personality':null,"
        "'resources':{'memory':{'limit':5000000,'reservation':1,'swap':5000001,'kernel':0,'disableOOMKiller':false},"
        "'cpu':{'shares':2,'quota':1000,'period':1000,'cpus':'0','mems':'0','idle':0,'burst':0},'pids':{'limit':1},"
        "'blockIO':{'weight':10,'leafWeight':0,'weightDevice':[{'major':1,'minor':2,'weight':10}],"
        "'throttleReadBpsDevice':[{'major':1,'minor':2,'rate':3}]},"
        "'devices':[{'allow':false},{'allow':true,'type':'c','major':1,'minor':2,'access':'r'}],"
        "'unified':{'memory.high':'1','cpu.max':'1000 1000'},'hugepageLimits':[],'network':{},'rdma':{}},"
        "'seccomp':{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':1,'architectures':['SCMP_ARCH_X86'],"
        "'flags':['SECCOMP_FILTER_FLAG_LOG'],'syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO','errnoRet':2,"
        "'args':[{'index':0,'value':1,'valueTwo':2,'op':'SCMP_CMP_EQ'}]}]}}}";

static const char *const others[] = {
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "-9223372036854775808",
        "1.5",
        "1e300",
        "''",
        "'x'",
        "'/'",
        "'/../..'",
        "'A=1'",
        "'\\u0001'",
        "[]",
        "{}",
        "[null]",
        "[1]",
        "['']",
        "[[]]",
        "[{}]",
        "{'a':null}",
        "{'a':1}",
        "{'a':{}}",
        "{'type':7}",
};

/* Counts the values below @node in document order, and replaces number @target by a copy of @other. */
static void replace(JsonNode *node, guint *count, guint target, JsonNode *other) {
        if (JSON_NODE_HOLDS_OBJECT(node)) {
                g_autoptr(GList) keys = json_object_get_members(json_node_get_object(node));

                for (GList *k = keys; k; k = k->next) {
                        replace(json_object_get_member(json_node_get_object(node), k->data), count, target, other);
                        if ((*count)++ == target)
                                json_object_set_member(json_node_get_object(node), k->data, spec_copy(other));
                        if (*count > target)
                                return;
                }
        } else if (JSON_NODE_HOLDS_ARRAY(node)) {
                JsonArray *array = json_node_get_array(node);

                for (guint i = 0; i < json_array_get_length(array); i++) {
                        replace(json_array_get_element(array, i), count, target, other);
                        if (*count > target)
                                return;
                        if ((*count)++ == target) {
                                json_array_remove_element(array, i);
                                json_array_add_element(array, spec_copy(other));
                                return;
                        }
                }
        }
}

static void try(JsonNode *spec, guint *built, guint *refused) {
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(GError) error = NULL;
        PlanContext context = test_context;

        context.rootfs = NULL;
        if (plan_build(spec, &context, &result, &error)) {
                g_assert_no_error(error);
                g_assert_cmpint(result.memfd, >=, 0);
                g_assert_nonnull(result.args[0]);
                (*built)++;
                return;
        }
        g_assert_nonnull(error);
        g_assert_true(error->domain == PLAN_ERROR);
        g_assert_cmpint(error->code, !=, PLAN_ERROR_FAILED);
        g_assert_cmpuint(strlen(error->message), >, 8);
        g_assert_cmpint(result.memfd, ==, -1);
        (*refused)++;
}

static void test_types(void) {
        g_autoptr(JsonNode) base = patched(rich);
        guint values = 0, built = 0, refused = 0, untouched = 0;

        replace(base, &values, G_MAXUINT, NULL);
        try(base, &untouched, &refused);
        g_assert_cmpuint(untouched, ==, 1);
        for (guint i = 0; i < values; i++)
                for (gsize j = 0; j < G_N_ELEMENTS(others); j++) {
                        g_autofree char *wrapped = g_strdup_printf("{'v':%s}", others[j]);
                        g_autoptr(JsonNode) other = json(wrapped), spec = spec_copy(base);
                        guint count = 0;

                        replace(spec, &count, i, json_object_get_member(json_node_get_object(other), "v"));
                        try(spec, &built, &refused);
                }
        g_test_message("%u values: %u built, %u refused", values, built, refused);
        g_assert_cmpuint(values, >, 150);
        g_assert_cmpuint(refused, >, built);
        g_assert_cmpuint(built, >, values);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/types/each", test_types);
        return g_test_run();
}
