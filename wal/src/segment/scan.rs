//! Reads a segment and classifies invalid places by the rules in the module above.

use std::ffi::OsStr;

use super::{
    FRAME_HEADER_BYTES, Influx, MARK_BYTES, MARK_HEAD, MARK_MAGIC, Mark, SNAPPY_RATIO_MAX, file_name,
    parse_name, snappy,
};
use crate::scan::{self, Follows, Invalid, Item, Later, Scan, SegmentFormat, Stop, Verdict, Work};
use crate::{ENTRY_BYTES_MAX, Error, RecordKind, entry};

impl SegmentFormat for Influx {
    type Name = u32;
    type Carry = ();
    type Scan<'s> = InfluxScan<'s>;

    const NUMBERED: bool = false;
    const RECYCLED: bool = false;
    const GUARDED: bool = true;
    const SEGMENT_BYTES_MAX: u64 = crate::SEGMENT_FILE_BYTES_MAX;

    fn file_name(name: u32) -> String {
        file_name(name)
    }

    fn parse_name(name: &OsStr) -> Option<u32> {
        parse_name(name)
    }

    fn number(name: u32) -> u64 {
        name.into()
    }

    fn unpack(bytes: &[u8], item: Item, from: usize, out: &mut Vec<u8>) -> Result<(RecordKind, usize), Stop> {
        let invalid = |found| Stop::Invalid(Invalid { offset: item.offset, found });
        let frame = bytes.get(item.offset as usize..item.end as usize).unwrap_or_default();
        let Some((&[tag, ..], body)) = frame.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(invalid("an incomplete record header"));
        };
        let kind = RecordKind::from_tag(tag).ok_or_else(|| invalid("an unknown kind of record"))?;
        let corrupt = "a payload that is not valid snappy";
        let len = snap::raw::decompress_len(body).map_err(|_| invalid(corrupt))?;
        if len > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(invalid(corrupt));
        }
        if len > ENTRY_BYTES_MAX {
            let error = Error::too_large("a record", len as u64, ENTRY_BYTES_MAX as u64);
            return Err(Stop::Refused(error.at_offset(item.offset)));
        }
        if out.len() < from + len {
            out.resize(from + len, 0);
        }
        let payload = out.get_mut(from..from + len).unwrap_or_default();
        snap::raw::Decoder::new().decompress(body, payload).map_err(|_| invalid(corrupt))?;
        if !item.checked && !entry::is_well_formed(kind, payload) {
            return Err(invalid("a payload that is not an entry"));
        }
        Ok((kind, len))
    }
}

/// Reads the frames of one segment.
#[derive(Clone, Debug)]
pub(crate) struct InfluxScan<'a> {
    segment: u32,
    bytes: &'a [u8],
    at: usize,
    /// End of the current group. Its checksum is verified, so frames below need no check of their own.
    group_end: usize,
    /// Whether the last unit was a frame outside any group.
    bare: bool,
    /// Whether to read as InfluxDB does, see [`Verdict::Accepted`]: a mark with an incomplete group is a
    /// deletion without keys.
    accepting: bool,
    /// Where the group of the last mark ends, or should end.
    claim_end: usize,
    /// Whether our log wrote the segment, if already determined.
    ours: Option<bool>,
    payload: Vec<u8>,
}

impl InfluxScan<'_> {
    /// Continues at `at` as InfluxDB did.
    fn accept(&mut self, at: usize) {
        (self.at, self.group_end, self.claim_end) = (at, at, at);
        (self.accepting, self.bare) = (true, true);
    }

    /// The number of records that InfluxDB read from the mark at `at` on, and whether one of them reaches
    /// past the group's end, so that our log did not write it. `None` if there is no mark at `at`.
    fn acceptable(&self, at: usize) -> Option<(u64, bool)> {
        let mut scan = Self::new(self.segment, self.bytes, ());
        scan.accept(at);
        scan.take_mark()?;
        let (mut records, mut foreign) = (0, false);
        while let Ok(Some(item)) = scan.next_item() {
            if Influx::unpack(self.bytes, item, 0, &mut scan.payload).is_err() {
                break;
            }
            records += 1;
            foreign |= !item.checked && item.end as usize > scan.claim_end;
        }
        Some((records, foreign))
    }

    fn mark_at(&self, at: usize) -> Option<Mark> {
        Mark::decode(self.segment, u32::try_from(at).ok()?, self.bytes.get(at..)?)
    }

    /// Passes the mark at the current place, if there is one. Passes a mark with an incomplete group only if
    /// InfluxDB did.
    fn take_mark(&mut self) -> Option<Mark> {
        if self.at < self.group_end {
            return None;
        }
        let whole = self.mark_at(self.at);
        let mark = match whole {
            None if self.accepting => {
                let (magic, mark, _) = Mark::words(self.bytes.get(self.at..)?)?;
                Mark { len: if magic == MARK_MAGIC { mark.len } else { 0 }, ..mark }
            }
            mark => mark?,
        };
        self.at += MARK_BYTES;
        self.claim_end = self.at.saturating_add(mark.len as usize);
        if whole.is_some() {
            (self.group_end, self.bare) = (self.claim_end, false);
        }
        Some(mark)
    }

    /// Passes the frame at the current place.
    fn frame(&mut self) -> Result<Option<Item>, Stop> {
        let (at, checked) = (self.at, self.at < self.group_end);
        if at >= self.bytes.len() {
            return Ok(None);
        }
        let invalid = |found| Err(Stop::Invalid(Invalid { offset: at as u64, found }));
        if !checked && Mark::claimed(self.bytes.get(at..).unwrap_or_default()).is_some() {
            return invalid("a group of records that does not match its checksum");
        }
        let limit = if checked { self.group_end } else { self.bytes.len() };
        let rest = self.bytes.get(at..limit).unwrap_or_default();
        let Some((&[tag, a, b, c, d], body)) = rest.split_first_chunk() else {
            return invalid("an incomplete record header");
        };
        if RecordKind::from_tag(tag).is_none() {
            return invalid("an unknown kind of record");
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > body.len() {
            return invalid("an incomplete record");
        }
        let item = self.item(at, at + FRAME_HEADER_BYTES + len, checked);
        (self.at, self.bare) = (item.end as usize, !checked);
        Ok(Some(item))
    }

    fn item(&self, at: usize, end: usize, checked: bool) -> Item {
        let position = scan::position(self.segment, end as u32);
        Item { at: position, offset: at as u64, end: end as u64, checked }
    }

    /// Rule 2: a mark after `invalid` proves that `invalid` was synced.
    fn proved_durable(&self, invalid: usize) -> bool {
        let mut work = Work::of(self.bytes.len());
        // A mark proves nothing about the bytes after it.
        let proves = |at, mark: Mark| (invalid + 1..=at).contains(&(mark.durable as usize));
        let mut claims = self.claims(invalid).filter(|&(at, mark)| proves(at, mark));
        claims.any(|(at, mark)| !work.pay(mark.len as usize) || self.mark_at(at).is_some())
    }

    /// The places from `from` on that look like a mark with its group. Checksums are not verified.
    fn claims(&self, from: usize) -> impl Iterator<Item = (usize, Mark)> {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let heads = rest.windows(MARK_HEAD.len()).enumerate().filter(|(_, window)| *window == MARK_HEAD);
        heads.filter_map(move |(step, _)| Some((from + step, Mark::claimed(rest.get(step..)?)?.0)))
    }

    /// Rule 6: the place after `invalid` of a valid frame or group. `Err` if the search takes too long, as
    /// hostile bytes can make it.
    fn frame_after(&mut self, invalid: usize) -> Result<Option<usize>, ()> {
        let mut work = Work::of(self.bytes.len());
        for at in invalid + 1..self.bytes.len() {
            let Some(rest) = self.bytes.get(at..) else { break };
            let &[tag, a, b, c, d, ..] = rest else { break };
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if RecordKind::from_tag(tag).is_none() || len == 0 || len > rest.len() - FRAME_HEADER_BYTES {
                continue;
            }
            let end = at + FRAME_HEADER_BYTES + len;
            let body = self.bytes.get(at + FRAME_HEADER_BYTES..end).unwrap_or_default();
            // Some places in a few megabytes of noise look like the head of a frame of several megabytes.
            match snappy::is_whole(body, &mut work) {
                Some(true) => {}
                Some(false) => continue,
                None => return Err(()),
            }
            let claimed = Mark::claimed(rest).map_or(0, |(mark, ..)| mark.len as usize);
            if !work.pay(len.saturating_add(claimed)) {
                return Err(());
            }
            match Influx::unpack(self.bytes, self.item(at, end, false), 0, &mut self.payload) {
                Ok((_, len)) if len > 0 => return Ok(Some(at)),
                Err(Stop::Refused(_)) => return Ok(Some(at)),
                _ if self.mark_at(at).is_some() => return Ok(Some(at)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether the segment contains a mark, or the remains of one. Only our logs write marks.
    fn is_ours(&mut self) -> bool {
        let found = self.ours.unwrap_or_else(|| self.claims(0).next().is_some());
        *self.ours.insert(found)
    }

    /// The next complete group after `invalid`.
    fn mark_after(&self, invalid: usize) -> Option<usize> {
        let mut work = Work::of(self.bytes.len());
        let mut claims = self.claims(invalid + 1).map(|(at, mark)| (at, work.pay(mark.len as usize)));
        claims.find(|&(at, affordable)| affordable && self.mark_at(at).is_some()).map(|(at, _)| at)
    }
}

impl<'s> Scan<'s, Influx> for InfluxScan<'s> {
    fn new(segment: u32, bytes: &'s [u8], (): ()) -> Self {
        let (at, group_end, claim_end) = (0, 0, 0);
        let (bare, accepting, ours) = (false, false, None);
        Self { segment, bytes, at, group_end, bare, accepting, claim_end, ours, payload: Vec::new() }
    }

    fn next_item(&mut self) -> Result<Option<Item>, Stop> {
        while self.take_mark().is_some() {}
        self.frame()
    }

    fn seek(&mut self, offset: u64) {
        loop {
            while self.take_mark().is_some() {}
            if self.at as u64 >= offset || !matches!(self.frame(), Ok(Some(_))) {
                return;
            }
        }
    }

    fn judge(&mut self, invalid: Invalid, later: Later) -> Verdict {
        let at = invalid.offset as usize;
        let rest = self.bytes.get(at..).unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) {
            return Verdict::End;
        }
        if self.proved_durable(at) {
            return Verdict::Corruption;
        }
        let ours = self.mark_at(0).is_some();
        if ours && !self.bare && !self.accepting {
            if let Some((records, foreign)) = self.acceptable(at)
                && (later.taken_over || foreign && !later.holds)
            {
                self.accept(at);
                return Verdict::Accepted { records };
            }
            // Whatever follows is not a group of ours.
            self.bare |= later.taken_over;
        }
        if later.holds {
            return Verdict::Corruption;
        }
        if (self.bare || self.accepting || !ours) && self.frame_after(at) != Ok(None) {
            return Verdict::Corruption;
        }
        Verdict::TornTail
    }

    /// Gives each record a mark of its own, so that a later corruption costs one record.
    fn sealed(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let mut scan = Self::new(self.segment, self.bytes.get(..to as usize)?, ());
        scan.accept(from as usize);
        let mut out = self.bytes.get(..from as usize)?.to_vec();
        let mut add = |frame: &[u8]| {
            let at = u32::try_from(out.len()).ok()?;
            out.extend_from_slice(&Mark::encode(self.segment, at, at, frame));
            out.extend_from_slice(frame);
            Some(())
        };
        while let Ok(Some(item)) = scan.next_item() {
            add(self.bytes.get(item.offset as usize..item.end as usize)?)?;
        }
        // As at the end of every segment of ours.
        add(&[])?;
        Some(out)
    }

    /// The last earlier segment with records, as the first mark states it.
    fn follows(&self) -> Option<Follows> {
        let end = self.mark_at(0).filter(|head| head.len == 0)?.durable.checked_sub(1)?.into();
        // Everything it names was truncated, unless the file still exists.
        Some(Follows { end, front: end })
    }

    fn end(&self) -> Option<u64> {
        (scan::used_len(self.bytes) > 0).then_some(self.segment.into())
    }

    /// In a segment of ours, resumes at the next group: frames of a group with a wrong checksum are invalid
    /// even if they look valid. Otherwise resumes also at the next frame with the grammar of an entry.
    fn resume(&mut self, invalid: Invalid) -> Option<u64> {
        let invalid = invalid.offset as usize;
        let bare = (self.bare || self.accepting || !self.is_ours()).then(|| self.frame_after(invalid));
        let at = match bare {
            Some(Ok(Some(at))) => Some(at),
            _ => self.mark_after(invalid),
        }?;
        (self.at, self.group_end, self.bare) = (at, at, false);
        Some(at as u64)
    }
}

#[cfg(test)]
#[expect(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]
mod tests {
    use tsmith_codecs::{FieldType, RunBuilder, Value};

    use super::*;
    use crate::encoder::FrameEncoder;
    use crate::kind::{Format, Link};
    use crate::segment::InfluxEncoder;
    use crate::testing::noise;

    /// A segment with an invalid first byte, then every 23 bytes a mark whose group reaches to the end.
    fn claims(len: usize, durable: impl Fn(usize) -> usize) -> Vec<u8> {
        let mut bytes = vec![0xff];
        while bytes.len() + MARK_BYTES <= len {
            let at = bytes.len();
            let rest = len - at - MARK_BYTES;
            let words = [durable(at) as u32, rest as u32, 0x5555_5555].map(u32::to_be_bytes);
            bytes.extend([&MARK_HEAD[..], &MARK_MAGIC, words.as_flattened()].concat());
        }
        bytes.resize(len, 1);
        bytes
    }

    /// A segment as InfluxDB writes it, with frames of one noisy string each, and the offsets of the frames.
    fn influx_segment(frames: u64, string_bytes: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut segment, mut begins) = (Vec::new(), Vec::new());
        for number in 0..frames {
            let mut builder = RunBuilder::new();
            builder.begin(b"m".into(), b"s".into(), FieldType::String);
            assert!(builder.push(number as i64, Value::String(&noise(number, string_bytes))));
            begins.push(segment.len());
            let mut encoder = InfluxEncoder::default();
            segment.extend_from_slice(encoder.encode_write(&builder.finish()).expect("frames"));
        }
        (segment, begins)
    }

    fn first_invalid(scan: &mut InfluxScan<'_>) -> Invalid {
        loop {
            match scan.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the segment is valid"),
                Err(Stop::Invalid(invalid)) => return invalid,
                Err(Stop::Refused(error)) => panic!("{error}"),
            }
        }
    }

    /// Story: bytes of a corrupt frame looked like heads of frames of several megabytes. Unpacking them
    /// exceeded the work limit, and the intact frames after it were skipped.
    #[test]
    fn frames_after_a_noisy_corrupt_frame_are_found() {
        let (segment, begins) = influx_segment(60, 80 << 10);
        for corrupt in [1, 7, 30] {
            let mut bytes = segment.clone();
            let at = begins[corrupt];
            bytes[at..at + 512].fill(0);
            let mut scan = InfluxScan::new(1, &bytes, ());
            let invalid = first_invalid(&mut scan);
            assert_eq!(invalid.offset as usize, at);
            assert_eq!(scan.judge(invalid, Later::default()), Verdict::Corruption);
            assert_eq!(scan.resume(invalid), Some(begins[corrupt + 1] as u64));
        }
    }

    /// Story: noise in an unfinished last write looked like the head of an oversized frame. It was taken for
    /// an intact one, so neither open nor repair cut off the torn write.
    #[test]
    fn an_unfinished_write_of_megabytes_is_torn() {
        let (segment, _) = influx_segment(1, 100);
        for seed in 0..40 {
            let head = [1, 0, 0x3d, 0xcc, 0x50];
            let bytes = [&segment[..], &head, &noise(seed, 4_000_000)].concat();
            let mut scan = InfluxScan::new(1, &bytes, ());
            let invalid = first_invalid(&mut scan);
            assert_eq!(
                (invalid.offset as usize, scan.judge(invalid, Later::default())),
                (segment.len(), Verdict::TornTail),
                "{seed}"
            );
        }
    }

    /// Story: when the first mark was corrupt too, a group with a wrong checksum was replayed as frames
    /// without checksums.
    #[test]
    fn a_corrupt_first_mark_keeps_the_checksums() {
        let (frame, _) = influx_segment(1, 40);
        let mut segment = Influx::begin(1, Link::default());
        let mut bytes = segment.head();
        let mut begins = Vec::new();
        for _ in 0..3 {
            let at = bytes.len();
            begins.push(at);
            bytes.resize(at + MARK_BYTES, 0);
            bytes.extend_from_slice(&frame);
            segment.seal(at as u32, at as u32, &mut bytes[at..]);
        }
        let value = begins[1] + MARK_BYTES + frame.len() - 3;
        bytes[value] ^= 1;
        bytes[12] ^= 1;
        let mut scan = InfluxScan::new(1, &bytes, ());
        let invalid = first_invalid(&mut scan);
        assert_eq!(scan.resume(invalid), Some(begins[0] as u64));
        let invalid = first_invalid(&mut scan);
        assert_eq!(invalid.offset as usize, begins[1]);
        assert_eq!(scan.resume(invalid), Some(begins[2] as u64));
    }

    /// Story: the checksum of every claimed group was computed, each to the end of the file. Three hostile
    /// megabytes took 25 seconds, ten some minutes.
    #[test]
    fn false_marks_cost_bounded_work() {
        // First, claims that prove nothing and end rule 3 at once; then claims that would prove durability.
        let durables: [fn(usize) -> usize; 3] = [|_| 0, |at| at + 1, |at| at];
        for durable in durables {
            let bytes = claims(10 << 20, durable);
            let mut scan = InfluxScan::new(1, &bytes, ());
            let Err(Stop::Invalid(invalid)) = scan.next_item() else { panic!("the first byte is invalid") };
            assert_eq!(invalid.offset, 0);
            assert_eq!(scan.judge(invalid, Later::default()), Verdict::Corruption);
        }
    }
}
