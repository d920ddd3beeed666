//! `summary.csv`: one line for each cell.

use super::summary::{GroupSummary, Summary};
use crate::json_line::five_digits;
use crate::matrix::spec::CellSpec;
use crate::stats::{SizeVerdict, Verdict};

pub(super) fn text(summary: &Summary) -> String {
    let mut out = String::from(
        "dataset,workload,threads,batch,durable,storer,log,encoder,order,durability,points_per_block,blocks,ratio,ratio_low,ratio_high,\
         noise_floor,verdict,p_value,seconds_to_decide,mvalues_per_s,cpu_s_per_mvalues,bytes_per_value,size,\
         log_bytes_per_value,write_amplification,writes,peak_rss_mib,alias,store\n",
    );
    for (GroupSummary { group, floor, .. }, row) in summary.rows() {
        let CellSpec { storer, log, encoder, order, durability, block, alias, store } = &row.spec;
        let number =
            |value: Option<f64>| value.map_or_else(String::new, |value| five_digits(value).to_string());
        let fields = [
            // The only name that the user chooses.
            format!("\"{}\"", group.dataset.replace('"', "\"\"")),
            group.workload.name().into(),
            group.threads.to_string(),
            group.batch.to_string(),
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
        ];
        out += &(fields.join(",") + "\n");
    }
    out
}
