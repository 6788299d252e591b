package soap

import (
	"regexp"
	"strconv"
	"time"
)

// durations are those of XML Schema 2 (3.2.6), without years and months, whose length is not known.
var durations = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d{1,9})?S)?)?$`)

// duration returns a duration of XML Schema in whole seconds.
func duration(text string) (time.Duration, bool) {
	parts := durations.FindStringSubmatch(text)
	if parts == nil || text[len(text)-1] == 'P' || text[len(text)-1] == 'T' {
		return 0, false
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi("0" + parts[i+1]) // digits, or nothing
		d += time.Duration(n) * unit
	}
	return d, true
}
