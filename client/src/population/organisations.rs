//! The organisations that patients of any population name: practices and pharmacies of codes that nobody holds.

use std::io;

/// Practices have the codes Y90000 and up.
pub(super) const PRACTICES: u32 = 7_000;
/// Pharmacies have the codes FZZ00 and up.
pub(super) const PHARMACIES: u32 = 100;
/// First line of the file.
pub const HEADER: &str = "code,name,roles,status";

/// Writes all of them as CSV, as `spinectl organisation load` reads it.
///
/// # Errors
/// Whatever the writer fails with.
pub fn write_csv(writer: &mut impl io::Write) -> io::Result<()> {
    writeln!(writer, "{HEADER}")?;
    for number in 0..PRACTICES {
        writeln!(writer, "Y9{number:04},Practice {number:04},general-practice,open")?;
    }
    for number in 0..PHARMACIES {
        writeln!(
            writer,
            "FZZ{number:02},Pharmacy {number:02},pharmacy appliance-supplier,open"
        )?;
    }
    Ok(())
}
