// Package lync knows what Lync, Skype for Business, OCS and Communicator want of a TR/87
// server that TR/87 does not say. It is plugged into tr87 as a dialect.
package lync

import (
	"errors"
	"strings"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect is the family's way to speak TR/87; it implements tr87.Dialect.
type Dialect struct{}

// Name implements tr87.Dialect.
func (Dialect) Name() string { return "lync" }

// agents are what the family's programs call themselves, in small letters: Lync and Skype
// for Business, Communicator and Office Communicator, the RTC client library, and the open
// source client.
var agents = []string{"uccapi/", "oc/", "lcc/", "ucwa/", "rtc/", "skype for business", "microsoft lync", "sipe/"}

// Speaks implements tr87.Dialect: the client names its line in the family's private data, or
// says in User-Agent what it is.
func (Dialect) Speaks(userAgent string, opening *uacsta.Message) bool {
	if opening != nil && opening.PrivateText("line") != "" {
		return true
	}
	userAgent = strings.ToLower(userAgent)
	for _, agent := range agents {
		if strings.Contains(userAgent, agent) {
			return true
		}
	}
	return false
}

// Refusal implements tr87.Dialect. A front end takes 503 for a gateway that is down, and may
// take its route out of use for everybody: what concerns one line is said by 480.
func (Dialect) Refusal(err error) (sip.Answer, bool) {
	if errors.Is(err, proxy.ErrForbidden) || errors.Is(err, proxy.ErrUnknownLine) || errors.Is(err, proxy.ErrTooMany) {
		return sip.Answer{}, false
	}
	return sip.Answer{Code: 480, Headers: []sip.Header{{Name: "Retry-After", Value: "30"}}}, true
}
