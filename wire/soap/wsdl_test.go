package soap

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// wsdl is a description as this test reads it.
type wsdl struct {
	Messages []struct {
		Name string `xml:"name,attr"`
	} `xml:"message"`
	PortTypes []struct {
		Name       string `xml:"name,attr"`
		Operations []struct {
			Name  string `xml:"name,attr"`
			Parts []struct {
				Message string `xml:"message,attr"`
			} `xml:",any"`
		} `xml:"operation"`
	} `xml:"portType"`
	Ports []struct {
		Address struct {
			Location string `xml:"location,attr"`
		} `xml:"address"`
	} `xml:"service>port"`
}

// Every request that a client may send is an operation once, also one of a group that is new in the table; all that clients get is
// one of the sink. Each message that an operation names is there, and the address cannot break the document.
func TestDescriptions(t *testing.T) {
	const address = `http://pbx.example/"><&?a=b`
	for edition := uacsta.Edition(3); edition <= 6; edition++ {
		for _, tt := range []struct {
			text []byte
			want []string
		}{
			{Describe(edition, address), append(Requests(edition), "StartApplicationSession", "StopApplicationSession", "ResetApplicationSessionTimer", "Subscribe", "Renew", "GetStatus", "Unsubscribe", "GetEvents")},
			{DescribeSink(edition), append(Deliveries(edition), "ApplicationSessionTerminated", "SubscriptionEnd")},
		} {
			var w wsdl
			if err := xml.Unmarshal(tt.text, &w); err != nil {
				t.Fatal(err)
			}
			messages := map[string]bool{}
			for _, m := range w.Messages {
				messages["tns:"+m.Name] = true
			}
			var got []string
			for _, p := range w.PortTypes {
				for _, o := range p.Operations {
					got = append(got, o.Name)
					for _, part := range o.Parts {
						if !messages[part.Message] {
							t.Errorf("edition %d: %s names the message %q", edition, o.Name, part.Message)
						}
					}
				}
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) || len(got) < 90 {
				t.Errorf("edition %d:\n got %v\nwant %v", edition, got, tt.want)
			}
			if at := w.Ports[0].Address.Location; strings.HasPrefix(at, "http://pbx") && at != address {
				t.Error(at)
			}
		}
	}
}
