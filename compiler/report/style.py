"""The report's style sheet: light and dark, narrow screens, paper."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--page:#fff;--panel:#f6f8fa;--edge:#d0d7de;--accent:#0b5fa5;
--good:46,140,67;--bad:200,60,40;--c0:#0072b2;--c1:#d55e00;--c2:#00815e;--c3:#b0558a;--c4:#9a6f00;--c5:#5a5a5a}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--page:#0d1117;--panel:#161b22;--edge:#343b44;
--accent:#6cb6ff;--good:60,180,90;--bad:240,100,80;--c0:#56b4e9;--c1:#ff8c42;--c2:#2ed3a0;--c3:#f0a0d0;--c4:#f0c040;
--c5:#b8b8b8}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--page);margin:0}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0 .3rem}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--edge)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
.note,figcaption{color:var(--soft);font-size:.92rem}
nav{font-size:.92rem;margin:.8rem 0}nav a{margin-right:1rem;white-space:nowrap}
a{color:var(--accent)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.8rem;margin:1.2rem 0;padding:0}
.tiles div{background:var(--panel);border:1px solid var(--edge);border-radius:.5rem;padding:.8rem 1rem}
.tiles dt{color:var(--soft);font-size:.92rem}.tiles dd{margin:0}
.tiles b{display:block;font-size:1.5rem;white-space:nowrap;line-height:1.3;font-variant-numeric:tabular-nums}
.worries{background:var(--panel);border:1px solid var(--edge);border-left:.35rem solid rgb(var(--bad));
border-radius:.5rem;padding:.6rem 1rem .6rem 2.2rem;margin:.6rem 0}
.worries li{margin:.35rem 0}.fine{border-left-color:rgb(var(--good));padding-left:1rem}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4rem 0 1rem}
td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--edge);vertical-align:top;font-weight:400}
thead th{color:var(--soft);font-size:.92rem;vertical-align:bottom}
td{white-space:nowrap}
tbody th,.text td,.text th{text-align:left;white-space:normal}tbody th{overflow-wrap:anywhere;min-width:8rem}
thead th:first-child{text-align:left}
.matrix tbody th{min-width:0}.matrix td,.matrix thead th{text-align:center;padding:.25rem .4rem;min-width:2.1rem}
.matrix thead th.tall{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;padding:.4rem .2rem}
.matrix td.zero{color:var(--soft)}
bdi{overflow-wrap:anywhere}
figure{margin:.6rem 0 1rem;overflow-x:auto}figcaption{max-width:46rem}
svg{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}
svg.defs{position:absolute;width:0;height:0}svg.whisker{width:100px;height:14px;display:inline-block;vertical-align:middle}
svg.key{width:18px;height:18px;display:inline-block;vertical-align:-4px;margin-right:.3rem}
text{fill:var(--ink)}.tick{fill:var(--soft)}
.name{font-size:13px;font-weight:600;paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}
.grid,.rail{stroke:var(--edge);fill:none}.line{stroke:var(--accent);stroke-width:2;fill:none}.dot{fill:var(--accent)}
.band{fill:var(--accent);opacity:.15}.bar{fill:var(--accent);opacity:.55}
.dashed{stroke:var(--soft);stroke-dasharray:5 4;fill:none;stroke-width:1.5}
.seen{fill:none;stroke-width:1.3;opacity:.6}.judged{stroke:var(--page);stroke-width:.6}
.ring{fill:none;stroke:var(--ink);stroke-width:1.8}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.seen{stroke:var(--c)}.judged{fill:var(--c)}
.pair{display:flex;flex-wrap:wrap;gap:1.5rem}.pair figure{flex:1 1 18rem;max-width:340px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.8rem;list-style:none;padding:0}
.cards li{border:1px solid var(--edge);border-radius:.5rem;padding:.6rem;font-size:.92rem;background:var(--panel)}
.cards img{width:100%;height:auto;display:block;border-radius:.3rem;margin-bottom:.4rem}
.cards .file{color:var(--soft);display:block}
.legend{columns:11rem;list-style:none;padding:0;font-size:.92rem}.legend li{break-inside:avoid}
details summary{cursor:pointer;color:var(--accent)}
@media(max-width:36rem){figure>svg{min-width:30rem}.pair figure>svg{min-width:0}
body{font-size:15px}td,th{padding:.3rem .4rem}.tiles b{font-size:1.35rem}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--page:#fff;--panel:#fff;--edge:#bbb;--accent:#0b5fa5;
--c0:#0072b2;--c1:#d55e00;--c2:#00815e;--c3:#b0558a;--c4:#9a6f00;--c5:#5a5a5a;--good:46,140,67;--bad:200,60,40}
body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}h2{break-after:avoid}
figure,.tiles div,.cards li,tr{break-inside:avoid}
.matrix td,.bar,.band{print-color-adjust:exact}.scroll{overflow:visible}}
"""
