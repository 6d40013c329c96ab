//! What is a cron expression and what it names; what is none is told what to write.

use jiff::civil::date;
use trimtab_schedule::{Cron, CronError};

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The minutes that an expression names in the first four weeks of 2026, from a Thursday.
fn named(text: &str) -> Vec<String> {
    let cron = cron(text);
    let mut wall = date(2026, 1, 1).at(0, 0, 0, 0);
    let mut found = vec![];
    for _ in 0..28 * 24 * 60 {
        if cron.names(wall) {
            found.push(wall.strftime("%d %H:%M").to_string());
        }
        wall = wall.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
    }
    found
}

#[test]
fn each_way_of_writing_names_the_same_as_the_plain_one() {
    for (one, other) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@Yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("0 6 ? * MON-FRI", "0 6 * * 1-5"),
        ("0 6 * * fri-sun", "0 6 * * 0,5,6"),
        ("0 6 * * 5-7", "0 6 * * 0,5,6"),
        ("0 6 * * 7", "0 6 * * SUN"),
        ("0 6 * JAN-mar,dec *", "0 6 * 1,2,3,12 *"),
        ("5/20 0 * * *", "5,25,45 0 * * *"),
        ("0-30/15 0 * * *", "0,15,30 0 * * *"),
        ("*/7 0 * * *", "0,7,14,21,28,35,42,49,56 0 * * *"),
        ("0 0 * * 1/2", "0 0 * * 1,3,5"),
        ("0 0 * * */2", "0 0 * * 0,2,4,6"),
        ("  0   0\t* * * ", "0 0 * * *"),
        ("0 0 */1 * 1", "0 0 * * 1"),
        ("05 08 * * *", "5 8 * * *"),
    ] {
        assert_eq!(named(one), named(other), "{one} and {other}");
    }
}

#[test]
fn days_of_month_and_of_week_together_mean_either() {
    assert_eq!(named("0 9 13 * FRI"), ["02 09:00", "09 09:00", "13 09:00", "16 09:00", "23 09:00"]);
    assert_eq!(named("0 9 13 * *"), ["13 09:00"]);
    assert_eq!(named("0 9 * * FRI"), ["02 09:00", "09 09:00", "16 09:00", "23 09:00"]);
    // As in Kubernetes: a step restricts.
    assert_eq!(named("0 9 */14 * FRI"), ["01 09:00", "02 09:00", "09 09:00", "15 09:00", "16 09:00", "23 09:00"]);
}

#[test]
fn what_is_wrong_is_told_what_to_write() {
    for (text, advice) in [
        ("", "write minute hour day-of-month month day-of-week"),
        ("0 6 * *", "it has 4 of five fields"),
        ("0 0 6 * * 1-5", "seconds cannot be said: write 0 6 * * 1-5"),
        ("0 6 * * 1-5 2026 x", "it has 7 of five fields"),
        ("60 6 * * *", "minute \"60\": \"60\" is not a minute: write a number from 0 to 59"),
        ("0 24 * * *", "write a number from 0 to 23"),
        ("0 6 0 * *", "write a number from 1 to 31"),
        ("0 6 * 13 *", "write a number from 1 to 12 or a name, JAN to DEC"),
        ("0 6 * * 8", "write a number from 0 to 7 or a name, SUN to SUN"),
        ("0 6 * * MONDAY", "a name"),
        ("0 22-6 * * *", "write 22-23,0-6 to go past the end"),
        ("0 6 * NOV-FEB *", "write NOV-DEC,JAN-FEB"),
        ("0 6 * * 5-0", "write 5-7, where 7 is Sunday"),
        ("0 6 * * FRI-MON", "write FRI-SAT,SUN-MON"),
        ("*/0 * * * *", "a step of 0 never goes on"),
        ("*/90 * * * *", "write 0 for that, or a step up to 59"),
        ("*/x * * * *", "is not a step"),
        ("*/ * * * *", "is not a step"),
        ("1,,2 * * * *", "there is nothing where a value belongs"),
        ("? * * * *", "only in the fields of days: write *"),
        ("-5 * * * *", "is not a minute"),
        ("+5 * * * *", "is not a minute"),
        ("0 6 L * *", "write 28, which every month has"),
        ("0 6 15W * *", "write MON-FRI"),
        ("0 6 * * 5#2", "name days of the month instead"),
        ("H 6 * * *", "write the number"),
        ("CRON_TZ=UTC 0 6 * * *", "write it as timeZone"),
        ("TZ=UTC 0 6 * * *", "write it as timeZone"),
        ("@every 15m", "*/15 * * * *"),
        ("@reboot", "write five fields or one of @hourly"),
        ("99999999999999999999 * * * *", "is not a minute"),
        ("é * * * *", "is not a minute"),
    ] {
        let error = text.parse::<Cron>().unwrap_err();
        assert!(matches!(error, CronError::Malformed(_)), "{text}");
        assert!(error.to_string().contains(advice), "{text}: {error}");
    }
}

#[test]
fn what_never_fires_is_recognised_and_what_seldom_does_is_not_mistaken() {
    for text in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "* * 30-31 FEB ?", "0 0 30/1 2 *"] {
        let error = text.parse::<Cron>().unwrap_err();
        assert!(matches!(&error, CronError::NeverFires(why) if why.contains("never fires")), "{error}");
    }
    for text in ["0 0 29 2 *", "0 0 31 1-12 *", "0 0 30 2 MON", "0 0 31 2,3 *"] {
        cron(text);
    }
}

#[test]
fn an_expression_prints_as_it_was_written() {
    assert_eq!(cron(" @daily ").to_string(), "@daily");
    assert_eq!(cron("0 6 * * MON-FRI").to_string(), "0 6 * * MON-FRI");
}
