//! All metrics, in the order of the data path. Names are `sluicebox_<noun>_<unit>`, with `_total` for counters.

use super::metric::{Counter, CounterBy, Declared, Gauge, GaugeBy, Histogram, Metric};

/// Of things that take microseconds to seconds.
const SHORT: &[f64] = &[1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// From one row the constant by which a metric is used and its entry in [`ALL`].
macro_rules! declare {
    ($($name:ident $type:ident $($detail:expr)? => $text:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $name: $type = declare!(@handle $type $text $($detail)?);)*

        /// Every metric there is.
        pub const ALL: &[Declared] = &[
            $(Declared { name: $text, metric: declare!(@metric $type $($detail)?), help: $help },)*
        ];
    };
    (@handle Counter $text:literal) => { Counter($text) };
    (@handle CounterBy $text:literal $label:expr) => { CounterBy($text, $label) };
    (@handle Gauge $text:literal) => { Gauge($text) };
    (@handle GaugeBy $text:literal $label:expr) => { GaugeBy($text, $label) };
    (@handle Histogram $text:literal $buckets:expr) => { Histogram($text) };
    (@metric Counter) => { Metric::Counter };
    (@metric CounterBy $label:expr) => { Metric::CounterBy { label: $label } };
    (@metric Gauge) => { Metric::Gauge };
    (@metric GaugeBy $label:expr) => { Metric::GaugeBy { label: $label } };
    (@metric Histogram $buckets:expr) => { Metric::Histogram { buckets: $buckets } };
}

declare! {
    BUILD GaugeBy "version" => "sluicebox_build_info" "Always 1; the label says which version runs.";
    UPTIME Gauge => "sluicebox_uptime_seconds" "Time since the process started.";

    READ_RECORDS CounterBy "partition" => "sluicebox_read_records_total" "Records read from the log.";
    LAG_RECORDS GaugeBy "partition" => "sluicebox_lag_records" "Records between the next offset and the end of the partition.";
    LAG_SECONDS Gauge => "sluicebox_lag_seconds" "Wall clock minus the watermark of the slowest partition that has records to read; 0 when all have been read.";
    LOST_RECORDS Counter => "sluicebox_lost_records_total" "Records that retention deleted before they were read.";
    IDLE Gauge => "sluicebox_idle_partitions" "Partitions without news, for which the merge does not wait.";
    PAUSED Gauge => "sluicebox_paused_partitions" "Partitions that back-pressure holds back.";

    DECODED_RECORDS Counter => "sluicebox_decoded_records_total" "Records that were read as events.";
    IGNORED_RECORDS Counter => "sluicebox_ignored_records_total" "Records of a kind that the mapping ignores.";
    TOMBSTONE_RECORDS Counter => "sluicebox_tombstone_records_total" "Records without a value.";
    MALFORMED_RECORDS CounterBy "reason" => "sluicebox_malformed_records_total" "Records that were rejected.";

    EVENTS Counter => "sluicebox_log_events_total" "Events that the decoded records hold.";
    APPLIED_EVENTS Counter => "sluicebox_applied_events_total" "Events that became part of a session.";
    DUPLICATE_EVENTS Counter => "sluicebox_duplicate_events_total" "Events whose id the session had already.";
    LATE_EVENTS Counter => "sluicebox_late_events_total" "Events behind the watermark, or for a session that was over.";
    ORPHAN_EVENTS Counter => "sluicebox_orphan_events_total" "Feedback whose decision never came.";
    PARKED_EVENTS Gauge => "sluicebox_parked_events" "Events that wait for their turn or for their decision.";

    OPEN_SESSIONS Gauge => "sluicebox_open_sessions" "Sessions that are open.";
    UNTRACKED_SESSIONS Counter => "sluicebox_untracked_sessions_total" "Users that /status cannot show because too many are active.";
    CLOSED_STEPS Counter => "sluicebox_closed_steps_total" "Steps of those trajectories.";

    MERGING_UNITS Gauge => "sluicebox_merging_units" "Units that wait for other partitions.";
    BASELINE_WAIT Histogram SHORT => "sluicebox_baseline_wait_seconds" "Time that judging waited for a fit of the network behind the baseline of the scores.";
    ADMITTED_UNITS Counter => "sluicebox_admitted_units_total" "Units that were admitted.";
    FILTERED_UNITS Counter => "sluicebox_filtered_units_total" "Units that were filtered out.";
    HELD_UNITS Counter => "sluicebox_held_units_total" "Units that came while the window was filling up.";
    EXPIRED_UNITS Counter => "sluicebox_expired_units_total" "Units that were over the age limit before they could be judged.";
    ADMITTED_STEPS Counter => "sluicebox_admitted_steps_total" "Steps of the admitted units.";

    WINDOW Gauge => "sluicebox_window_units" "Units in the sliding window.";
    THRESHOLD Gauge => "sluicebox_threshold_score" "Score above which a unit is admitted.";
    LEVEL Gauge => "sluicebox_level_ratio" "Tail mass at which the threshold stands.";
    KAPPA Gauge => "sluicebox_kappa_ratio" "Share of the mass to keep.";
    ADMITTED_SHARE Gauge => "sluicebox_admitted_ratio" "Mass admitted over mass judged, since the start of the log.";
    SILENCES Counter => "sluicebox_silence_alarms_total" "Times the window was shortened because nothing was admitted.";

    DRAWS Counter => "sluicebox_buffer_draws_total" "Draws from the buffer.";
    REJECTED_DRAWS Counter => "sluicebox_rejected_draws_total" "Draws that the present threshold does not admit any more.";
    BUFFER Gauge => "sluicebox_buffered_steps" "Admitted steps from which batches are drawn.";
    BATCHES Counter => "sluicebox_emitted_batches_total" "Batches given to the learner.";

    UPDATES Counter => "sluicebox_applied_updates_total" "Updates of the policy.";
    REFUSED_UPDATES Counter => "sluicebox_refused_updates_total" "Updates that left the policy as it was.";
    ROLLBACKS Counter => "sluicebox_learner_rollbacks_total" "Times the learner went back to its snapshot.";
    LOSS Gauge => "sluicebox_learner_loss" "Loss of the last batch.";
    GRADIENT Gauge => "sluicebox_gradient_norm" "Global norm of the last gradient before clipping.";
    RETURN Gauge => "sluicebox_return_reward" "Mean undiscounted return of the trajectories, since the start of the log.";

    VALIDATED_STEPS Counter => "sluicebox_validated_steps_total" "Steps that the policy was asked about before it could train on them.";
    VALIDATION_HITS GaugeBy "delay" => "sluicebox_validation_hit_ratio" "Share of those in the window whose item was the policy's first choice.";
    VALIDATION_LIKELIHOOD GaugeBy "delay" => "sluicebox_validation_likelihood_nats" "Mean log-likelihood of what was shown.";
    VALIDATION_VALUE GaugeBy "delay" => "sluicebox_validation_snips_reward" "What the policy would earn by step, by self-normalized inverse propensity scores.";

    SEALS Counter => "sluicebox_sealed_checkpoints_total" "Checkpoints that were made durable.";
    BROKEN_CHECKPOINTS Counter => "sluicebox_broken_checkpoints_total" "Checkpoints that were passed over because they are damaged.";
    SEAL_SECONDS Histogram SHORT => "sluicebox_seal_seconds" "Time from the barrier to a durable checkpoint.";
    HANDOVER_SECONDS Histogram SHORT => "sluicebox_handover_seconds" "Time that a lane worker, the core or the learner stood still to hand over its part of a checkpoint.";
    CHECKPOINT_AGE Gauge => "sluicebox_checkpoint_age_seconds" "Time since the last checkpoint was made durable; 0 before the first.";

    PUBLICATIONS CounterBy "outcome" => "sluicebox_policy_publications_total" "Attempts of `run` to publish a sealed policy.";
    RECOMMEND_SECONDS Histogram SHORT => "sluicebox_recommend_seconds" "Time from a question's head to its answer.";
    SERVED_VERSION Gauge => "sluicebox_served_updates" "Version of the policy that /v1/recommend serves: its count of updates.";

    REQUESTS CounterBy "path" => "sluicebox_served_requests_total" "HTTP requests that were answered.";
}
