//! Who may do what with a file: mode bits and POSIX access lists, decided as the kernel decides (acl(5)).

use super::machine::Stat;
use super::workers::Worker;

/// Wanted rights, as in a mode: 4 to read a file, 1 to pass through a directory.
pub(super) const READ: u16 = 4;
pub(super) const PASS: u16 = 1;

/// An entry of an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Owner(u16),
    User(u32, u16),
    OwningGroup(u16),
    Group(u32, u16),
    Mask(u16),
    Other(u16),
}

/// Whether a user has these rights. `list` is the attribute `system.posix_acl_access`, if there is one.
pub(super) fn allows(stat: Stat, list: Option<&[u8]>, worker: &Worker, wanted: u16) -> bool {
    if worker.uid == 0 {
        return true;
    }
    let entries = list.and_then(decode).unwrap_or_else(|| of_mode(stat.mode));
    let in_group = |gid: u32| worker.gid == gid || worker.groups.contains(&gid);
    let mask = entries.iter().find_map(|entry| match entry {
        Entry::Mask(rights) => Some(*rights),
        _ => None,
    });
    let masked = |rights: u16| rights & mask.unwrap_or(7);
    let has = |rights: u16| rights & wanted == wanted;
    if worker.uid == stat.uid {
        return entries.iter().any(|entry| matches!(entry, Entry::Owner(rights) if has(*rights)));
    }
    if let Some(rights) = entries.iter().find_map(|entry| match entry {
        Entry::User(uid, rights) if *uid == worker.uid => Some(masked(*rights)),
        _ => None,
    }) {
        return has(rights);
    }
    let groups: Vec<u16> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::OwningGroup(rights) if in_group(stat.gid) => Some(masked(*rights)),
            Entry::Group(gid, rights) if in_group(*gid) => Some(masked(*rights)),
            _ => None,
        })
        .collect();
    if !groups.is_empty() {
        return groups.into_iter().any(has);
    }
    entries.iter().any(|entry| matches!(entry, Entry::Other(rights) if has(*rights)))
}

fn of_mode(mode: u32) -> Vec<Entry> {
    let rights = |shift: u32| (mode >> shift) as u16 & 7;
    vec![Entry::Owner(rights(6)), Entry::OwningGroup(rights(3)), Entry::Other(rights(0))]
}

/// The form that the kernel gives (linux/posix_acl_xattr.h): a version, then entries of tag, rights and id.
fn decode(list: &[u8]) -> Option<Vec<Entry>> {
    const VERSION: u32 = 2;
    let (version, rest) = list.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
        return None;
    }
    let entries = rest.chunks_exact(8).map(|it| {
        let rights = u16::from_le_bytes([it[2], it[3]]);
        let id = u32::from_le_bytes([it[4], it[5], it[6], it[7]]);
        match u16::from_le_bytes([it[0], it[1]]) {
            0x01 => Some(Entry::Owner(rights)),
            0x02 => Some(Entry::User(id, rights)),
            0x04 => Some(Entry::OwningGroup(rights)),
            0x08 => Some(Entry::Group(id, rights)),
            0x10 => Some(Entry::Mask(rights)),
            0x20 => Some(Entry::Other(rights)),
            _ => None,
        }
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(uid: u32, gid: u32, groups: &[u32]) -> Worker {
        Worker { user: "w".into(), program: "nginx".into(), uid, gid, groups: groups.to_vec(), learned: "test".into() }
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn mode_bits_count_by_owner_then_group_then_others() {
        let stat = |mode| Stat { uid: 0, gid: 5, mode };
        for (mode, uid, gid, groups, expected) in [
            (0o600, 33, 33, &[][..], false),
            (0o644, 33, 33, &[], true),
            (0o640, 33, 5, &[], true),
            (0o640, 33, 33, &[5], true),
            (0o640, 33, 33, &[6], false),
            // The group's rights count for its members, even if others have more.
            (0o604, 33, 5, &[], false),
            (0o000, 0, 0, &[], true),
        ] {
            assert_eq!(allows(stat(mode), None, &worker(uid, gid, groups), READ), expected, "{mode:o} {uid} {gid}");
        }
    }

    #[test]
    fn an_access_list_may_let_a_user_or_a_group_in_as_far_as_its_mask_goes() {
        let stat = Stat { uid: 0, gid: 0, mode: 0o640 };
        let base = [(1, 6, 0), (4, 0, 0), (0x20, 0, 0)];
        let with = |more: &[(u16, u16, u32)]| list(&[&base[..], more].concat());
        let www = worker(33, 33, &[40]);
        for (list, expected) in [
            (with(&[]), false),
            (with(&[(2, 4, 33), (0x10, 4, 0)]), true),
            (with(&[(2, 4, 33), (0x10, 0, 0)]), false),
            (with(&[(2, 0, 33), (8, 4, 33), (0x10, 4, 0)]), false),
            (with(&[(8, 4, 40), (0x10, 4, 0)]), true),
            (with(&[(8, 4, 41), (0x10, 4, 0)]), false),
        ] {
            assert_eq!(allows(stat, Some(&list), &www, READ), expected, "{list:?}");
        }
        // What is no list is no reason to let nobody in: the mode decides.
        assert!(allows(Stat { mode: 0o644, ..stat }, Some(b"nonsense"), &www, READ));
    }
}
