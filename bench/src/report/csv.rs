//! `summary.csv`: one line for each cell.

use super::summary::{GroupSummary, LatencySummary, Summary};
use crate::json_line::five_digits;
use crate::matrix::spec::CellSpec;
use crate::stats::{Interval, SizeVerdict, Verdict};

pub(super) fn text(summary: &Summary) -> String {
    let mut out = String::from(
        "dataset,workload,threads,batch,rate,durable,storer,log,encoder,order,durability,points_per_block,blocks,ratio,ratio_low,ratio_high,\
         noise_floor,verdict,p_value,seconds_to_decide,mvalues_per_s,cpu_s_per_mvalues,bytes_per_value,size,\
         log_bytes_per_value,write_amplification,writes,peak_rss_mib,alias,store,\
         achieved_per_s,keeps_up,p50_us,p90_us,p99_us,p99_9_us,p99_99_us,max_us,snapshots,compactions\n",
    );
    for (GroupSummary { group, floor, .. }, row) in summary.rows() {
        let CellSpec { storer, log, encoder, order, durability, block, alias, store } = &row.spec;
        let number =
            |value: Option<f64>| value.map_or_else(String::new, |value| five_digits(value).to_string());
        let latency = |of: &dyn Fn(&LatencySummary) -> Option<f64>| row.latency.as_ref().and_then(of);
        let percentile =
            |of: &dyn Fn(&LatencySummary) -> Option<Interval>| number(latency(&|l| of(l).map(|i| i.mid)));
        let fields = [
            // The only name that the user chooses.
            format!("\"{}\"", group.dataset.replace('"', "\"\"")),
            group.workload.name().into(),
            group.threads.to_string(),
            group.batch.to_string(),
            group.pace.map_or_else(String::new, |pace| pace.points_per_s.to_string()),
            group.durable.to_string(),
            storer.clone(),
            log.clone(),
            encoder.clone(),
            order.clone(),
            durability.clone(),
            block.clone(),
            row.blocks.to_string(),
            number(row.ratio.map(|ratio| ratio.mid)),
            number(row.ratio.map(|ratio| ratio.low)),
            number(row.ratio.map(|ratio| ratio.high)),
            number(Some(*floor)),
            row.verdict.map_or("", Verdict::name).into(),
            number(row.p_value),
            number(row.seconds_to_decide),
            number(row.mvalues_per_s.map(|speed| speed.mid)),
            number(row.cpu_s_per_mvalues),
            number(row.bytes_per_value),
            row.size.map_or("", SizeVerdict::name).into(),
            number(row.log_bytes_per_value),
            number(row.write_amplification),
            row.writes.map_or("", SizeVerdict::name).into(),
            number(row.peak_rss_mib),
            alias.to_string(),
            store.clone().unwrap_or_default(),
            number(latency(&|l| Some(l.achieved_per_s))),
            row.latency.as_ref().map_or_else(String::new, |latency| latency.keeps_up.to_string()),
            percentile(&|l| l.p50_us),
            percentile(&|l| l.p90_us),
            percentile(&|l| l.p99_us),
            percentile(&|l| l.p99_9_us),
            percentile(&|l| l.p99_99_us),
            number(latency(&|l| Some(l.max_us))),
            number(latency(&|l| Some(l.snapshots))),
            number(latency(&|l| Some(l.compactions))),
        ];
        out += &(fields.join(",") + "\n");
    }
    out
}
