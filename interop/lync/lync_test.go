package lync

import (
	"errors"
	"testing"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func TestSpeaks(t *testing.T) {
	line := uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)
	named := line.Clone().WithPrivate("lcs", "http://schemas.microsoft.com/Lcs/2005/04/RCCExtension", "line", "tel:100")
	for _, tt := range []struct {
		agent   string
		opening *uacsta.Message
		want    bool
	}{
		{"UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)", line, true}, {"LCC/1.3", nil, true}, {"Purple/2.14 Sipe/1.25 (linux)", line, true},
		{"", named, true}, {"", line, false}, {"tr87proxy-client", line, false}, {"", nil, false}, {"Cisco-CUP/9.0", line, false},
	} {
		if got := (Dialect{}).Speaks(tt.agent, tt.opening); got != tt.want {
			t.Errorf("%q %v: %v", tt.agent, tt.opening, got)
		}
	}
}

func TestRefusal(t *testing.T) {
	for err, want := range map[error]int{proxy.ErrForbidden: 0, proxy.ErrUnknownLine: 0, proxy.ErrTooMany: 0, errors.New("the link is down"): 480} {
		if answer, own := (Dialect{}).Refusal(err); own != (want != 0) || answer.Code != want {
			t.Errorf("%v: %d %v", err, answer.Code, own)
		}
	}
}
