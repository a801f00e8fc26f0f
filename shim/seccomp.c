/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Loads a compiled seccomp filter, or one that asks where the given one would answer with an error.
 *
 * The filter is compiled by plan/ and only handed to the kernel here, which checks the program itself. A filter that
 * asks has its errors replaced by questions to the shim, which runs the given program over the call and so answers what
 * the kernel would have answered (violation.c). Everything else such a filter decides stays the kernel's to do.
 */

#include <linux/audit.h>
#include <string.h>
#include <sys/socket.h>

#include "shared/plan-check.h"
#include "shared/syscalls.h"
#include "shim/setup.h"
#include "shim/violation.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* since Linux 5.19 */
#endif

#define REFUSED (SECCOMP_RET_ERRNO | EPERM) /* of a program that is not ours */

static bool filter_jumps(const struct sock_filter *i, uint32_t a) {
        switch (BPF_OP(i->code)) {
        case BPF_JEQ:
                return a == i->k;
        case BPF_JGT:
                return a > i->k;
        default:
                return a >= i->k;
        }
}

/** filter_run() - what a program decides of a call; knows the instructions that plan/ emits and refuses on others */
uint32_t filter_run(const struct sock_filter *program, size_t n, const struct seccomp_data *data) {
        uint32_t a = 0;

        for (size_t at = 0; at < n; at++) {
                const struct sock_filter *i = &program[at];

                switch (i->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        if (i->k > sizeof(*data) - sizeof(a))
                                return REFUSED;
                        memcpy(&a, (const uint8_t *)data + i->k, sizeof(a));
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= i->k;
                        break;
                case BPF_JMP | BPF_JA:
                        at += i->k;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                case BPF_JMP | BPF_JGT | BPF_K:
                case BPF_JMP | BPF_JGE | BPF_K:
                        at += filter_jumps(i, a) ? i->jt : i->jf;
                        break;
                case BPF_RET | BPF_K:
                        return i->k;
                default:
                        return REFUSED;
                }
        }
        return REFUSED;
}

/** filter_tells() - whether an answer is worth telling
 *
 * ENOSYS is what an older kernel would say: a program that is told so looks for another way and meets no wall.
 */
bool filter_tells(uint32_t action) {
        return (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && (action & SECCOMP_RET_DATA) != ENOSYS;
}

static int load(struct fault *fault, unsigned flags, struct sock_filter *program, size_t n) {
        struct sock_fprog p = { .len = (unsigned short)n, .filter = program };
        int r = sys_seccomp(SECCOMP_SET_MODE_FILTER, flags, &p);

        return r < 0 ? fault_set(fault, SHIM_STEP_SECCOMP, errno, "seccomp filter") : r;
}

/** filter_load() - put the calling process, and all it becomes, under @filter of @plan; nothing happens when that is
 * empty
 *
 * Return: 0, with SECCOMP_FILTER_FLAG_NEW_LISTENER the listener's descriptor, or a negative errno with the fault set.
 */
int filter_load(struct fault *fault, const struct plan *plan, const struct plan_seccomp *filter) {
        if (filter->program.n == 0)
                return 0;
        return load(fault, filter->flags, (struct sock_filter *)plan_array(plan, filter->program), filter->program.n);
}

/* Whoever has handed over the listener needs no answer to do so: else it would wait for itself. */
static bool may_send(const struct sock_filter *program, size_t n, int sock) {
        const struct seccomp_data data = { .nr = SYS_sendmsg,
                                           .arch = AUDIT_ARCH_X86_64,
                                           .args = { (uint64_t)sock, 0, MSG_NOSIGNAL } };

        return filter_run(program, n, &data) == SECCOMP_RET_ALLOW;
}

/** filter_load_asking() - the container's filter, with questions in place of errors
 *
 * Each question bears the error it stands for, which the kernel does not look at and a checkpoint needs.
 *
 * @sock: what the listener is going to be sent over.
 *
 * Return: the listener's descriptor, or -1 where that cannot be: nothing has been loaded then. The one filter of a
 * process that may ask can be somebody else's, around us, and kernels differ in what they know.
 */
int filter_load_asking(const struct plan *plan, int sock) {
        const struct plan_seccomp *filter = &plan->seccomp;
        const struct sock_filter *given = plan_array(plan, filter->program);
        unsigned flags = (filter->flags & ~SECCOMP_FILTER_FLAG_TSYNC) | SECCOMP_FILTER_FLAG_NEW_LISTENER;
        _cleanup_free_ struct sock_filter *program = NULL;
        struct fault fault = FAULT_NULL;
        size_t n = filter->program.n;
        int fd;

        if (n == 0 || filter->listener || !may_send(given, n, sock))
                return -1;
        program = malloc(n * sizeof(*program));
        if (!program)
                return -1;
        memcpy(program, given, n * sizeof(*program));
        for (size_t i = 0; i < n; i++)
                if (program[i].code == (BPF_RET | BPF_K) && filter_tells(program[i].k))
                        program[i].k = SECCOMP_RET_USER_NOTIF | (program[i].k & SECCOMP_RET_DATA);
        /* A signal then does not make the same call be asked about twice. */
        fd = load(&fault, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program, n);
        if (fd < 0 && fault.error == -EINVAL)
                fd = load(&fault, flags, program, n);
        return fd < 0 ? -1 : fd;
}
