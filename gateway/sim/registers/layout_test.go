package registers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// modelFiles is where the SunSpec Alliance's model files lie, if they do: named by
// SUNSPEC_MODELS, or beside the checkout. They
// are not copied into the project.
func modelFiles() string {
	if dir := os.Getenv("SUNSPEC_MODELS"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "..", "..", "shared", "sunspec")
}

type group struct {
	Points []struct {
		Name, Type string
		Size       int
	}
	Groups []group
}

// letters returns the type of each register of a group as our layouts have it.
func (g group) letters(t *testing.T) (kinds []byte, names map[string]int) {
	t.Helper()
	byType := map[string]byte{
		"uint16": 'u', "enum16": 'u', "bitfield16": 'u', "int16": 's', "sunssf": 'f', "pad": 'p',
		"uint32": 'U', "bitfield32": 'U', "int32": 'S', "acc32": 'a', "uint64": 'L', "string": 't',
	}
	names = map[string]int{}
	for _, p := range g.Points {
		k, ok := byType[p.Type]
		if !ok {
			t.Fatalf("point %s: type %s is not known here", p.Name, p.Type)
		}
		names[p.Name] = len(kinds)
		for i := range p.Size {
			switch {
			case i%size(k) == 0:
				kinds = append(kinds, k)
			default:
				kinds = append(kinds, '.')
			}
		}
	}
	for _, sub := range g.Groups {
		k, _ := sub.letters(t)
		kinds = append(kinds, k...)
	}
	return kinds, names
}

func readModel(t *testing.T, id int) ([]byte, map[string]int) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(modelFiles(), fmt.Sprintf("model_%d.json", id)))
	if err != nil {
		t.Skipf("no SunSpec model files here: %v", err)
	}
	var file struct{ Group group }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Group.letters(t)
}

func TestLayoutsAreThoseOfTheModelFiles(t *testing.T) {
	for id, l := range map[int]layout{
		1: layoutCommon, 103: layoutInverter, 120: layoutNameplate, 124: layoutStorage, 203: layoutMeter,
		701: layoutMeasure, 702: layoutCapacity, 704: layoutControls, 713: layoutStorageCap, 802: layoutBattery,
	} {
		want, _ := readModel(t, id)
		if got := "uu" + string(l.kinds()); got != string(want) {
			t.Errorf("model %d:\n got %s\nwant %s", id, got, want)
		}
	}
}

func TestOffsetsAreThoseOfTheModelFiles(t *testing.T) {
	for id, points := range map[int]map[string]int{
		103: {"A": invA, "A_SF": invASF, "PhVphA": invPhV, "V_SF": invVSF, "W": invW, "W_SF": invWSF, "Hz": invHz,
			"Hz_SF": invHzSF, "WH": invWh, "WH_SF": invWhSF, "Tmp_SF": invTmpSF, "St": invSt},
		120: {"DERTyp": plateTyp, "WRtg": plateW, "WRtg_SF": plateWSF, "WHRtg": plateWh, "WHRtg_SF": plateWhSF,
			"MaxChaRte": plateCha, "MaxChaRte_SF": plateChaSF, "MaxDisChaRte": plateDis, "MaxDisChaRte_SF": plateDisSF},
		124: {"WChaMax": stoWChaMax, "WChaMax_SF": stoWChaMaxSF, "WChaGra": stoChaGra, "WDisChaGra": stoDisGra,
			"WChaDisChaGra_SF": stoGraSF, "StorCtl_Mod": stoMod, "MinRsvPct": stoReserve, "MinRsvPct_SF": stoReserveSF,
			"ChaState": stoState, "ChaState_SF": stoStateSF, "ChaSt": stoChaSt, "OutWRte": stoOut, "InWRte": stoIn,
			"InOutWRte_SF": stoRateSF, "InOutWRte_WinTms": stoWinTms, "InOutWRte_RvrtTms": stoRvrt,
			"InOutWRte_RmpTms": stoRmpTms, "ChaGriSet": stoChaGrid},
		203: {"A": mtrA, "A_SF": mtrASF, "PhV": mtrPhV, "V_SF": mtrVSF, "Hz": mtrHz, "Hz_SF": mtrHzSF, "W": mtrW,
			"W_SF": mtrWSF, "PF": mtrPF, "PF_SF": mtrPFSF, "TotWhExp": mtrExp, "TotWhImp": mtrImp, "TotWh_SF": mtrWhSF,
			"Evt": mtrEvt},
		701: {"ACType": acType, "St": acSt, "InvSt": acInvSt, "ConnSt": acConnSt, "Alrm": acAlarm, "DERMode": acMode,
			"W": acW, "VA": acVA, "A": acA, "LNV": acLNV, "Hz": acHz, "TotWhInj": acInj, "TotWhAbs": acAbs,
			"A_SF": acASF, "V_SF": acVSF, "Hz_SF": acHzSF, "W_SF": acWSF, "VA_SF": acVASF, "TotWh_SF": acWhSF},
		702: {"WMaxRtg": capW, "WChaRteMaxRtg": capCha, "WDisChaRteMaxRtg": capDis, "WMax": capSetW,
			"WChaRteMax": capSetCha, "WDisChaRteMax": capSetDis, "W_SF": capWSF},
		704: {"WMaxLimPctEna": ctlLimEna, "WMaxLimPct": ctlLimPct, "WMaxLimPctRvrt": ctlLimRvrt,
			"WMaxLimPctEnaRvrt": ctlLimEnaRvrt, "WMaxLimPctRvrtTms": ctlLimTms, "WMaxLimPctRvrtRem": ctlLimRem,
			"WSetEna": ctlSetEna, "WSetMod": ctlSetMod, "WSet": ctlSet, "WSetRvrt": ctlSetRvrt, "WSetPct": ctlSetPct,
			"WSetPctRvrt": ctlSetPctRvrt, "WSetEnaRvrt": ctlSetEnaRvrt, "WSetRvrtTms": ctlSetTms,
			"WSetRvrtRem": ctlSetRem, "WMaxLimPct_SF": ctlLimSF, "WSet_SF": ctlSetSF, "WSetPct_SF": ctlSetPctSF},
		713: {"WHRtg": scWh, "WHAvail": scAvail, "SoC": scSoC, "SoH": scSoH, "Sta": scSta, "WH_SF": scWhSF, "Pct_SF": scPctSF},
		802: {"WHRtg": batWh, "WHRtg_SF": batWhSF, "WChaRteMax": batCha, "WDisChaRteMax": batDis,
			"WChaDisChaMax_SF": batRateSF, "SoCRsvMin": batReserve, "SoC": batSoC, "SoC_SF": batSoCF, "ChaSt": batChaSt,
			"LocRemCtl": batLocRem, "State": batSt, "W": batW, "W_SF": batWSF},
	} {
		_, want := readModel(t, id)
		for name, got := range points {
			if w, ok := want[name]; !ok || got != w {
				t.Errorf("model %d point %s: offset %d, want %d (known: %v)", id, name, got, w, ok)
			}
		}
	}
}
