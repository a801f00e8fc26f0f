/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Types of events: name, id and priority of the journal's entry, and its sentence, in which @NAME@ stands for a field.
 *
 * data/davit.catalog and davit-events(7) have a part on each; tests/style/check-events compares the three. Names and
 * ids are a promise: they never change and are never used again.
 */

#include "daemon/event.h"
#include "shared/macros.h"

static const EventInfo infos[_EVENT_TYPE_MAX] = {
        [EVENT_CONTAINER_CREATE] = { "container.create", "8bbe67a869b94dae9eba6e2ea217b90f", 6,
                                     "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been defined." },
        [EVENT_CONTAINER_UPDATE] = { "container.update", "9826d2d7d44a4f47a9f93addea09e3b0", 6,
                                     "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been changed." },
        [EVENT_CONTAINER_DELETE] = { "container.delete", "42adecf4feb443e789b9a3718793f812", 6,
                                     "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been deleted." },
        [EVENT_TASK_CREATE] = { "task.create", "24015674225744d692dd112e78de0534", 6,
                                "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has a task, process "
                                "@CONTAINER_PID@." },
        [EVENT_TASK_START] = { "task.start", "5ab4c1f0b1c64c6b9a1d3e9f0d3a7c11", 6,
                               "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has started as process "
                               "@CONTAINER_PID@." },
        [EVENT_TASK_FAILED] = { "task.failed", "77d0f1b7ec2c4912ab9ba97c3fcbd28f", 4,
                                "A start in container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has failed: @ERROR@" },
        [EVENT_TASK_PAUSED] = { "task.paused", "67485b6de3b64adfa8cca19c5ffb95f5", 6,
                                "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been paused." },
        [EVENT_TASK_RESUMED] = { "task.resumed", "17e3e1cce6b6430c829f179e3993b31a", 6,
                                 "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ goes on." },
        [EVENT_TASK_CHECKPOINTED] = { "task.checkpointed", "ef92cc617fb945709c9b3fbedcd58d08", 6,
                                      "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has a checkpoint "
                                      "@CHECKPOINT_NAME@." },
        [EVENT_TASK_OOM] = { "task.oom", "c8e363c713c0475fac23dfc4d3434ecb", 4,
                             "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has run out of memory." },
        [EVENT_TASK_SECCOMP] = { "task.seccomp", "477dab42e19f45ba9c81d95ee61665fd", 5,
                                 "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ was refused system call "
                                 "@SECCOMP_SYSCALL@: @SECCOMP_ACTION@." },
        [EVENT_TASK_EXIT] = { "task.exit", "c0f3a7d2e5914f4e8c6b2a917d0e4b52", 6,
                              "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has ended: @EXIT_KIND@, status "
                              "@EXIT_STATUS@." },
        [EVENT_TASK_DELETE] = { "task.delete", "a0983afd45ad44ea84111a48a56d62f8", 6,
                                "The task of container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been deleted." },
        [EVENT_EXEC_ADDED] = { "task.exec-added", "89c8858de8504af89c0a4b1965a02103", 6,
                               "Container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has a further process @EXEC_ID@." },
        [EVENT_EXEC_STARTED] = { "task.exec-started", "67e8c54d91184d0da5241f0a2cc4d76d", 6,
                                 "Process @EXEC_ID@ of container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has started "
                                 "as process @CONTAINER_PID@." },
        [EVENT_EXEC_EXITED] = { "task.exec-exited", "3e9b0f17052d4a53bc9b28b14190d3c8", 6,
                                "Process @EXEC_ID@ of container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has ended: "
                                "@EXIT_KIND@, status @EXIT_STATUS@." },
        [EVENT_EXEC_DELETED] = { "task.exec-deleted", "7d9e154ef4e949c7a74eec1fd6d60bf9", 6,
                                 "Process @EXEC_ID@ of container @CONTAINER_NAMESPACE@/@DAVIT_ID@ has been "
                                 "deleted." },
        [EVENT_IMAGE_CREATE] = { "image.create", "f54ee1914b9c495998196c978ce266d7", 6,
                                 "Image @DAVIT_ID@ has come to namespace @CONTAINER_NAMESPACE@." },
        [EVENT_IMAGE_UPDATE] = { "image.update", "026180c891584356ae7b93d6e24f067c", 6,
                                 "Image @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been changed." },
        [EVENT_IMAGE_DELETE] = { "image.delete", "d7d7fbe09a1046c7b9b706aa57d4dcfe", 6,
                                 "Image @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been deleted." },
        [EVENT_SNAPSHOT_PREPARE] = { "snapshot.prepare", "3f6f27281b824cf58cfc43a12f4ba8b4", 6,
                                     "Snapshot @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been made." },
        [EVENT_SNAPSHOT_COMMIT] = { "snapshot.commit", "d013e01ad12d427db7b7d5057ce0c5a7", 6,
                                    "Snapshot @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been committed." },
        [EVENT_SNAPSHOT_UPDATE] = { "snapshot.update", "7811027a18c64396b64aae0fa7040dbb", 6,
                                    "Snapshot @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been changed." },
        [EVENT_SNAPSHOT_REMOVE] = { "snapshot.remove", "be7a0311d9bc42a2b80a291f678c33ae", 6,
                                    "Snapshot @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been removed." },
        [EVENT_CONTENT_CREATE] = { "content.create", "e810c24db1cc46318092d6a9a61b33ce", 6,
                                   "Content @DAVIT_ID@ has come to namespace @CONTAINER_NAMESPACE@." },
        [EVENT_CONTENT_UPDATE] = { "content.update", "68fb68dbad8f4ed283e35b11ffaf0f7c", 6,
                                   "Content @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been changed." },
        [EVENT_CONTENT_DELETE] = { "content.delete", "3682a17d37234995a8801eb530ae5f51", 6,
                                   "Content @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been deleted." },
        [EVENT_LEASE_CREATE] = { "lease.create", "8eed39d9eee546cbbe5f95485a283c07", 6,
                                 "Lease @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been made." },
        [EVENT_LEASE_UPDATE] = { "lease.update", "c7b91569dee64951bf7b0401e1f8cf50", 6,
                                 "Lease @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has been changed." },
        [EVENT_LEASE_DELETE] = { "lease.delete", "2c763f19b24c49f2b7d3394f1ba2b4e9", 6,
                                 "Lease @DAVIT_ID@ of namespace @CONTAINER_NAMESPACE@ has ended." },
        [EVENT_NAMESPACE_CREATE] = { "namespace.create", "d7896575c0ad4d0a8afa0a9225da4bc9", 6,
                                     "Namespace @CONTAINER_NAMESPACE@ has been made." },
        [EVENT_NAMESPACE_UPDATE] = { "namespace.update", "33146bb9b61f44a4bb2883fdeff64978", 6,
                                     "Namespace @CONTAINER_NAMESPACE@ has been changed." },
        [EVENT_NAMESPACE_DELETE] = { "namespace.delete", "b29466e1b207422ea9b17a1027bbec0f", 6,
                                     "Namespace @CONTAINER_NAMESPACE@ has been deleted." },
        [EVENT_JOB_FAILED] = { "job.failed", "79c455fbe805445496d8e7f8faba3fcb", 4,
                               "A job \"@JOB_TYPE@\" on @DAVIT_ID@ has failed: @ERROR@" },
};

/** event_info() - the row of a type */
const EventInfo *event_info(EventType type) {
        return &infos[type];
}

/** event_type_from_name() - _EVENT_TYPE_MAX where there is none of the name */
EventType event_type_from_name(const char *name) {
        EventType type = 0;

        while (type < _EVENT_TYPE_MAX && !streq(infos[type].name, name))
                type++;
        return type;
}

/** event_is_end() - whether what it is about has gone with it */
bool event_is_end(EventType type) {
        switch (type) {
        case EVENT_CONTAINER_DELETE:
        case EVENT_TASK_DELETE:
        case EVENT_EXEC_DELETED:
        case EVENT_IMAGE_DELETE:
        case EVENT_SNAPSHOT_REMOVE:
        case EVENT_CONTENT_DELETE:
        case EVENT_LEASE_DELETE:
        case EVENT_NAMESPACE_DELETE:
                return true;
        default:
                return false;
        }
}
