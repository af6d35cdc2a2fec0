"""The words of `dictionary`: this project's own compilation, from no vocabulary's file.

Lines hold alternatives in regular expressions; case is ignored but where capitals make the
word (symbols, abbreviations).
"""

ID = "dictionary-1"  # a change of words or rules is a new number

RNA_TYPES = r"""
pre[-_ ]?mi(?:cro)?RNA  pri[-_ ]?mi(?:cro)?RNA  mi(?:cro)?[- ]?RNA  isomiR  miR
lncRNA  lincRNA  long (?:intergenic )?non-?coding RNA  (?:small )?non-?coding RNA  ncRNA  sncRNA
circRNA  circular RNA  ceRNA  competing endogenous RNA  piRNA  piwi-interacting RNA
siRNA  small interfering RNA  shRNA  short hairpin RNA  antisense RNA  guide RNA  sgRNA  gRNA
mRNA  messenger RNA  pre-mRNA  tRNA  transfer RNA  tmRNA  rRNA  ribosomal RNA
snRNA  small nuclear RNA  snoRNA  small nucleolar RNA  scaRNA  Y RNA  vault RNA  vtRNA
SRP RNA  7SL RNA  7SK RNA  telomerase RNA  RNase P RNA  sRNA  scRNA  eRNA  enhancer RNA
riboswitch(?:es)?  ribozyme  pseudogene
"""

ORGANS = r"""
colorectal  colonic  colon  rectal  bowel  intestinal  pancreatic  pancreas  gastric  stomach
esophageal  oesophageal  hepatic  hepatocellular  liver  biliary  gallbladder  ampullary  lung
pulmonary  bronchial  breast  mammary  ovarian  cervical  endometrial  uterine  prostate  prostatic
testicular  bladder  urothelial  renal  kidney  thyroid  adrenal  pituitary  brain  cerebral
skin  cutaneous  bone  oral  nasopharyngeal  laryngeal  pharyngeal  head and neck  gastrointestinal
neuroendocrine  endocrine  acinar  ductal  squamous(?: cell)?  basal cell  germ cell  non-small[- ]cell
small[- ]cell  clear[- ]cell  retinal  ocular  cardiac  heart  vascular  coronary  neuronal  neural
muscle  muscular  blood  hematological  haematological  lymphoid  myeloid  salivary  spinal  islet cell
"""

TUMOURS = r"""
cancer  carcinoma  adenocarcinoma  tumou?r  neoplasm  neoplasia  malignanc(?:y|ies)  adenoma
"""

DISEASES = r"""
adenoma  polyposis  cachexia  diabetes(?: mellitus)?  obesity  asthma  sepsis  septic shock  stroke
hypertension  schizophrenia  epilepsy  autism  infertility  preeclampsia  pre-eclampsia  endometriosis
osteoporosis  atherosclerosis  arteriosclerosis  multiple sclerosis  systemic sclerosis  cirrhosis
amyotrophic lateral sclerosis  tuberculosis  cystic fibrosis  psoriasis  thrombosis  anencephaly
(?:cardiac|liver|hepatic|renal|pulmonary|kidney|lung) fibrosis  (?:heart|renal|kidney|liver) failure
myocardial infarction  muscular dystrophy  cardiac hypertrophy  cardiac arrest  dementia  malaria
AIDS  COVID-19  influenza  hepatitis [A-E]  (?:cardio|hepato|neuro|nephro)toxicity  aneurysm  eczema
metabolic syndrome  down syndrome  insulin resistance  depressive disorder  psychosis  steatosis
barrett'?s (?:esophagus|oesophagus)  lynch syndrome  intraductal papillary mucinous neoplasm
(?:acute |chronic )?(?:lymphoblastic |lymphocytic |myeloid |myelogenous |promyelocytic )leuka?emia
(?:traumatic |spinal |acute )?(?:brain|cord|kidney|lung|liver) injury
"""

# Endings that make a disease of a word, and words with such endings that are none.
DISEASE_ENDINGS = r"[a-z]{3,}(?:omas?|itis|a?emias?|pathy|pathies|iasis|dystrophy)"
NO_DISEASES = r"""
carcinomas?  adenocarcinomas?  stromas?  soma  coma  aroma  diploma  genoma  homeopathy  academia
xylemia  sympathy  empathy  allopathy  naturopathy  psychopathy
"""

ABBREVIATED_DISEASES = r"""
m?CRC  PDA?C  PDAC  HCC  NSCLC  SCLC  OSCC  HNSCC  ESCC  RCC  ccRCC  GBM  AML  ALL  CLL  CML  DLBCL
TNBC  IBD  COPD  NAFLD  NASH  IPMNs?  PNETs?  PanINs?  PanNETs?  T2DM  T1DM  ALS  PCa  EAC  FAP  HNPCC
MPM  NPC  SLE
"""

PROCESSES = r"""
proliferation  apoptosis  programmed cell death  anoikis  autophagy  ferroptosis  pyroptosis  necroptosis
necrosis  invasion  invasiveness  migration  metasta(?:sis|ses)  angiogenesis  vasculogenesis
lymphangiogenesis  differentiation  dedifferentiation  cell cycle  senescence  inflammation  hypoxia
(?:cell|cellular) (?:growth|survival|death|adhesion|viability|division|motility|fate)
epithelial[- ](?:to[- ])?mesenchymal[- ]transition  mesenchymal[- ](?:to[- ])?epithelial[- ]transition
DNA (?:methylation|repair|damage|replication|synthesis)  mismatch repair  hypomethylation
hypermethylation  promoter methylation  histone (?:de)?(?:acetylation|methylation)  phosphorylation
dephosphorylation  ubiquitination  glycosylation  acetylation  carcinogenesis  tumou?rigenesis
oncogenesis  leukemogenesis  (?:multi-?)?(?:drug|chemo)[- ]?resistance  radio-?resistance
(?:chemo|radio)-?sensitivity  tumou?r (?:growth|progression)  tumou?r suppression  stemness
self-renewal  transcription  translation  (?:alternative )?splicing  polyadenylation  glycolysis
(?:lipid|glucose|iron|energy|drug|cholesterol) metabolism  oxidative stress  oxidative phosphorylation
(?:innate |adaptive )?immune (?:response|evasion|surveillance|escape)  immunity  phagocytosis
endocytosis  exocytosis  neurogenesis  osteogenesis  adipogenesis  myogenesis  h(?:a)?ematopoiesis
spermatogenesis  gametogenesis  embryogenesis  organogenesis  morphogenesis  erythropoiesis
wound healing  gene silencing  RNA interference  RNA processing  RNA editing  chromatin remodel+ing
X inactivation  genomic instability  microsatellite instability  chromosomal instability  mitosis
meiosis  cytokinesis  desmoplasia  biofilm formation  quorum sensing  sporulation  virulence
photosynthesis  lipogenesis  gluconeogenesis  neurotransmission  synaptic plasticity  memory formation
vascular remodel+ing  fibrogenesis  calcification  regeneration
"""

ABBREVIATED_PROCESSES = r"EMT  MET transition  MSI  RNAi  MDR"

# Compounds and proteins by name.
COMPOUNDS = r"""
5-fluorouracil  fluorouracil  curcumin  metformin  resveratrol  temozolomide  tamoxifen  aspirin
dexamethasone  genistein  quercetin  melatonin  butyrate  glucose  cholesterol  glutathione
estrogen  estradiol  testosterone  progesterone  cortisol  insulin  leptin  adiponectin  arsenic  nicotine
thiamine(?: pyrophosphate)?  guanine  adenine  lysine  glycine  arginine  glutamine  tryptophan
S-adenosylmethionine  folic acid  folate  retinoic acid  vitamin [A-EK]\d?  vitamin B12  cobalamin
actinomycin D  trichostatin A  decitabine  azacitidine  5-aza-2'-deoxycytidine  5-azacytidine
gefitinib  bevacizumab  lipopolysaccharide  calcium  dextran sulfate sodium  azoxymethane  ethanol
caffeine  rapamycin  cyclophosphamide  methotrexate  ginsenoside Rg3  sulforaphane
epigallocatechin gallate  salinomycin  bisphenol A  leucovorin
"""
COMPOUND_ENDINGS = (
    r"[a-z]{3,}(?:citabine|platin|rubicin|taxel|tinib|ciclib|zumab|ximab|tumumab|statin|tecan|"
    r"mycin|fluridine|cillin|oxacin|parib)"
)
ABBREVIATED_COMPOUNDS = (
    r"5-?FU  DOX  FOLFOX  FOLFIRI  FOLFIRINOX  CDDP  LPS  SAHA  5-?Aza  TPP  SAM"
)
PROTEINS = r"""
caspase(?:[- ]?\d+)?  cyclin(?: [A-E]\d?)?  (?:beta|β|alpha|α|gamma|γ)[- ]catenin  vimentin
[ENP][- ]cadherin  cadherin  fibronectin  laminin  integrin  collagen  p53  p21(?:\w+)?  p27(?:\w+)?  p16  p38
interferon[- ](?:alpha|beta|gamma|α|β|γ)  interleukin[- ]?\d+  tumou?r necrosis factor(?:[- ](?:alpha|α))?
programmed cell death[- ](?:protein )?4  argonaute(?:[- ]?\d)?  dicer  drosha  exportin[- ]?5  c-?myc
c-?jun  c-?fos  c-?met  c-?kit  survivin  ezrin  fascin  mesothelin  osteopontin  albumin  h(?:a)?emoglobin
transforming growth factor(?:[- ](?:beta|β)[- ]?\d?)?  vascular endothelial growth factor(?:[- ][A-D])?
epidermal growth factor(?: receptor)?  phosphatase and tensin homolog(?:ue)?  nuclear factor[- ]?(?:kappa|κ)[- ]?B
(?:matrix )?metalloprotein(?:ase)?s?[- ]?\d+  phosphatidylinositol[- ]3-kinase  (?:DNA )?methyltransferase \d\w?
carcinoembryonic antigen  carbohydrate antigen 19-9  sonic hedgehog  heat shock protein \d+  myosin  actin
insulin-like growth factor[- ]?\d?(?: receptor)?  toll-like receptor[- ]?\d+  topoisomerase(?: I+)?  RNA polymerase I*
hypoxia-inducible factor(?:[- ]\d\w?)?  argininosuccinate synthetase  ferritin  transferrin  trypsin  amylase
"""

# Symbols without a digit: with one, a pattern finds them.
SYMBOLS = r"""
PTEN  PPAR[ADG]?  LYN  [KHN]-?RAS  [KkHhN]-?[Rr]as  RAS  Ras  BRAF  RAF  MYCN?  Myc  EGFR?  VEGF[A-D]?  VEGFR  AKT  Akt  ERK  MAPK
MEK  JNK  mTOR  MTOR  mTORC  STAT  SRC  Src  WNT  Wnt  NOTCH  Notch  APC  ATM  ATR  BRCA  NF-?[κk]B  NF-kappaB  HIF
TGF-?(?:β|beta)?  TNF(?:-?(?:α|alpha|A))?  IFN-?(?:α|β|γ)?  IGF  PDGF  FGF  HGF  BMP  SMAD  Smad  GAPDH  PCNA  RECK
SNAIL  Snail  SLUG  Slug  TWIST  Twist  EZH  DICER  DROSHA  AGO  HMGA  HOTAIR  MALAT  XIST  Xist  MEG  GAS  PVT
RHOB  RhoB  RhoA  RHOA  CDH  CDKN  PTENP  TIMP  MMPs?  DNMTs?  TETs?  HDACs?  TLRs?  LRP  SOX  FOXO  FoxO  BCL  Bcl
BIM  Bim  BAX  Bax  BAK  FAS  Fas  FasL  TRAIL  PUMA  NOXA  XIAP  CEA  AFP  PSA  hTERT  TERT  HER  AR  ER  PR  HuR  FUS
SPRY  TIAM  MARCKS  maspin  SERPIN  ICAM  VCAM  MUC  CRP  COX  LDH  AMPK  PKC  PKA  PP2A  GSK  CREB  YAP  TAZ  MDR
MRP  ABC  P-gp  BCRP  hENT  TYMS  DPYD  MLH  MSH  UBC  RISC  CXCR  CCL  CXCL  SHH  Shh  GLI  KLF  ZEB  PDCD  TPM
RNases?  STK  LIN  Lin  Hfq  CsrA  ProQ  DGCR  XPO  TRBP  PRKC  RUNX  E-?cad
"""
# Letters before a digit that make no gene: stages, tests, data, cell lines.
NO_SYMBOLS = r"""
T\d[ab]?  N\d  M\d  G\d  H\d  S\d  GSE\d+  GSM\d+  GPL\d+  TNM\w*  CI\d+  P\d?  R\d  Q\d  I+V?  U6  CA19-9\w*
HCT-?\d+\w*  HT-?29\w*  SW-?\d+\w*  PANC-?\d\w*  BxPC-?\d?  BXPC-?\d?  MIA ?PaCa-?2  MiaPaCa-?2  AsPC-?1  ASPC-?1
CAPAN-?\d  Capan-?\d  HEK-?293T?  MCF-?7  A549  HeLa  LoVo  DLD-?1  RKO  Caco-?2  COLO-?\d+\w*  HPAC\w*  CFPAC-?1
LS-?\d+\w*  T84  HPDE\d?\w*  NCM460  FHC  FET  GEO  SUIT-?2  Su86\.86  KM12\w*  NIH3T3  THP-?1  K562  Hep3B  HepG2  Huh-?7
U251  U87  MDA-MB-\d+  PC-?3  DU145  L3\.6pl  SK-\w+  CO2  H2O2?  E\d+\.\d  COVID-19  SPSS\d*  DAVID\d*  X100  WHO\d*
G[0-2]/?[GSM]?\d?  C57\w*  CA-?19\w*  MOLT-?4  GEO2R  Y\d+  SNP\d*  II  III  IV  Q1  MV2  PV1  NCT\d+  CD\d+-positive  ICD-?10
"""

# Other names of the same, in lower case and the singular.
SYNONYMS = {
    "crc": "colorectal cancer",
    "mcrc": "colorectal cancer",
    "pdac": "pancreatic ductal adenocarcinoma",
    "pda": "pancreatic ductal adenocarcinoma",
    "hcc": "hepatocellular carcinoma",
    "nsclc": "non-small cell lung cancer",
    "sclc": "small cell lung cancer",
    "rcc": "renal cell carcinoma",
    "escc": "esophageal squamous cell carcinoma",
    "oscc": "oral squamous cell carcinoma",
    "gbm": "glioblastoma",
    "aml": "acute myeloid leukemia",
    "cll": "chronic lymphocytic leukemia",
    "cml": "chronic myeloid leukemia",
    "tnbc": "triple negative breast cancer",
    "ibd": "inflammatory bowel disease",
    "copd": "chronic obstructive pulmonary disease",
    "emt": "epithelial mesenchymal transition",
    "epithelial to mesenchymal transition": "epithelial mesenchymal transition",
    "metastases": "metastasis",
    "invasiveness": "invasion",
    "tumorigenesis": "carcinogenesis",
    "oncogenesis": "carcinogenesis",
    "chemo resistance": "drug resistance",
    "chemoresistance": "drug resistance",
    "radio resistance": "radioresistance",
    "multidrug resistance": "drug resistance",
    "multi drug resistance": "drug resistance",
    "mdr": "drug resistance",
    "msi": "microsatellite instability",
    "rnai": "rna interference",
    "lincrna": "lncrna",
    "long non-coding rna": "lncrna",
    "long noncoding rna": "lncrna",
    "long intergenic non-coding rna": "lncrna",
    "non-coding rna": "ncrna",
    "noncoding rna": "ncrna",
    "small non-coding rna": "ncrna",
    "small noncoding rna": "ncrna",
    "competing endogenous rna": "cerna",
    "circular rna": "circrna",
    "messenger rna": "mrna",
    "transfer rna": "trna",
    "ribosomal rna": "rrna",
    "small interfering rna": "sirna",
    "short hairpin rna": "shrna",
    "small nuclear rna": "snrna",
    "small nucleolar rna": "snorna",
    "pre-mirna": "pre_mirna",
    "pre mirna": "pre_mirna",
    "premirna": "pre_mirna",
    "y rna": "y_rna",
    "srp rna": "srp_rna",
    "rnase p rna": "rnase_p_rna",
    "diabete": "diabetes",  # a plural in form alone
    "aid": "aids",
    "5-fluorouracil": "5-fu",
    "fluorouracil": "5-fu",
    "5fu": "5-fu",
    "doxorubicin": "dox",
    "programmed cell death 4": "pdcd4",
    "programmed cell death-4": "pdcd4",
    "programmed cell death protein 4": "pdcd4",
}
