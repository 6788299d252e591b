package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Hours is a weekly span of time: some days, from one minute of the day to another. A span that ends
// before it begins extends over midnight and belongs to the day on which it begins.
type Hours struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day
}

var weekdays = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
}

// ParseHours parses a span such as "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-14:00", "22:00-06:00" (every
// day) or "Sun".
func ParseHours(s string) (Hours, error) {
	h := Hours{to: day}
	fault := fmt.Errorf("%q is not a time; write for example \"Mon-Fri 08:00-18:00\"", s)
	fields := strings.Fields(s)
	if len(fields) == 0 || len(fields) > 2 {
		return Hours{}, fault
	}
	days, span := fields[0], ""
	if strings.Contains(days, ":") {
		days, span = "Mon-Sun", fields[0]
		if len(fields) == 2 {
			return Hours{}, fault
		}
	} else if len(fields) == 2 {
		span = fields[1]
	}
	for part := range strings.SplitSeq(days, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, okA := weekdays[strings.ToLower(first)]
		b, okB := weekdays[strings.ToLower(last)]
		if !okA || !okB {
			return Hours{}, fault
		}
		for d := a; ; d = (d + 1) % 7 {
			h.days[d] = true
			if d == b {
				break
			}
		}
	}
	if span == "" {
		return h, nil
	}
	from, to, _ := strings.Cut(span, "-")
	var okFrom, okTo bool
	h.from, okFrom = minutes(from)
	h.to, okTo = minutes(to)
	if !okFrom || !okTo || h.from == h.to {
		return Hours{}, fault
	}
	return h, nil
}

const day = 24 * 60 // minutes

// minutes parses a time of the day.
func minutes(s string) (int, bool) {
	hour, minute, _ := strings.Cut(s, ":")
	h, errH := strconv.Atoi(hour)
	m, errM := strconv.Atoi(minute)
	total := 60*h + m
	return total, errH == nil && errM == nil && len(minute) == 2 && h >= 0 && m >= 0 && m < 60 && total <= day
}

// Contains reports whether t is within the span, in t's own time zone.
func (h Hours) Contains(t time.Time) bool {
	now := 60*t.Hour() + t.Minute()
	today := h.days[t.Weekday()]
	if h.from < h.to {
		return today && h.from <= now && now < h.to
	}
	yesterday := h.days[(t.Weekday()+6)%7]
	return today && now >= h.from || yesterday && now < h.to
}

// Rate is a number of uses per duration. The zero value means no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// ParseRate parses a rate such as "30/minute", "2/second" or "100/hour".
func ParseRate(s string) (Rate, error) {
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per, known := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}[strings.TrimSpace(unit)]
	if err != nil || n <= 0 || !known {
		return Rate{}, fmt.Errorf("%q is not a rate; write for example 30/minute, 2/second or 100/hour", s)
	}
	return Rate{n, per}, nil
}
