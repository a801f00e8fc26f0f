/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of verbs, in the order the help lists them. */

#include "ctl/ctl.h"

extern const Verb verbs[];
extern const size_t n_verbs;

const Verb *verb_take(int *argc, char ***argv);
bool verb_is_group(const char *word);
const char *verb_hint(const char *word);

extern const Option attach_options[], checkpoint_create_options[], checkpoint_ls_options[], commit_options[],
        content_get_options[], content_ls_options[], content_put_options[], content_writers_options[], create_options[],
        diff_options[], events_options[], exec_options[], image_export_options[], image_history_options[],
        image_import_options[], image_load_options[], image_ls_options[], image_prune_options[], image_rm_options[],
        image_save_options[], inspect_options[], job_ls_options[], kill_options[], label_options[],
        lease_create_options[], lease_ls_options[], lease_rm_options[], logs_options[], namespace_create_options[],
        namespace_default_options[], ps_options[], pull_options[], restart_options[], rm_options[], run_options[],
        snapshot_apply_options[], snapshot_commit_options[], snapshot_ls_options[], snapshot_mount_options[],
        snapshot_prepare_options[], snapshot_usage_options[], start_options[], stats_options[], stop_options[],
        system_check_options[], system_collect_options[], system_df_options[], system_prune_options[], update_options[],
        wait_options[], why_kept_options[];

/* each in the file of its name, small ones of a group together */
typedef int VerbFunction(Ctl *ctl, int argc, char **argv);

extern VerbFunction verb_attach, verb_checkpoint_create, verb_checkpoint_ls, verb_checkpoint_rm, verb_commit,
        verb_content_abort, verb_content_get, verb_content_label, verb_content_ls, verb_content_put, verb_content_rm,
        verb_content_writers, verb_create, verb_diff, verb_events, verb_exec, verb_help, verb_image_export,
        verb_image_history, verb_image_import, verb_image_inspect, verb_image_load, verb_image_ls, verb_image_pin,
        verb_image_prune, verb_image_rename, verb_image_rm, verb_image_save, verb_image_tag, verb_image_unpin,
        verb_image_untag, verb_inspect, verb_job_cancel, verb_job_ls, verb_kill, verb_label, verb_lease_add,
        verb_lease_create, verb_lease_ls, verb_lease_remove, verb_lease_rm, verb_logs, verb_namespace_create,
        verb_namespace_default, verb_namespace_label, verb_namespace_ls, verb_namespace_rm, verb_pause, verb_ps,
        verb_pull, verb_rename, verb_restart, verb_rm, verb_run, verb_snapshot_apply, verb_snapshot_commit,
        verb_snapshot_diff, verb_snapshot_label, verb_snapshot_ls, verb_snapshot_mount, verb_snapshot_mounts,
        verb_snapshot_prepare, verb_snapshot_rm, verb_snapshot_usage, verb_snapshot_view, verb_start, verb_stats,
        verb_stop, verb_system_check, verb_system_collect, verb_system_df, verb_system_prune, verb_top, verb_unpause,
        verb_update, verb_version, verb_wait, verb_why_kept;
