"""The silver builder's lexicon, made by hand: which words of a title, a bracket or a category tell what an article is about.

The classes are YAGO's; a class that an ontology lacks is left out and counted, see ``TitleTyper.unknown_classes``.
"""

from __future__ import annotations

import re


def word_set(words: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(words.split())


# The coarse kinds between which a title is decided; the first that holds counts. What is of none of them gets no name here.
KINDS: dict[str, tuple[str, ...]] = {
    "person": ("Person100007846",),
    "being": ("SpiritualBeing109504135", "ImaginaryBeing109483738"),
    "work": ("Communication100033020", "Movie106613686", "Book106410904", "Work104599396"),
    "organization": ("SocialGroup107950920", "University104511002", "College103069752", "StockExchange104323026"),
    "vehicle": ("Vehicle104524313",),
    "structure": ("Structure104341686", "Way104564698", "Facility103315023"),
    "water": ("BodyOfWater109225146",),
    "place": (
        "Location100027167",
        "GeologicalFormation109287968",
        "Land109334396",
        "Constellation109252970",
        "CelestialBody109239740",
    ),
    "event": ("Event100029378",),
    "artifact": ("Artifact100021939",),
}
# Peoples, languages and times are no names of entities in our guideline; a sign of the zodiac is a piece of the calendar.
UNNAMED = word_set(
    "Community108223802 People107942152 Language106282651 TimePeriod115113229 TimeUnit115154774 Date115159583 Day115157225 "
    "Period115247518 Eon115243730 Era115248020 Era115248564 Epoch115248269 HistoricPeriod115254028 SignOfTheZodiac108685677 "
    "SoilHorizon108658309"
)

# Where a title has several senses, which of them Wikipedia calls by the bare name: countries before rivers.
PROMINENCE = {
    "Country108544813": 0,
    "State108654360": 1,
    "NationalCapital108691669": 2,
    "TerrestrialPlanet109456369": 2,
    "GasGiant109322087": 2,
    "Town108665504": 4,
    "River109411430": 4,
    "Volcano109472597": 4,
}
PROMINENCE_OF_OTHERS = 3


def _table(text: str) -> dict[str, str]:
    """Entries ``words_joined class``, one a line or between bars."""
    entries = (entry.split() for entry in re.split(r"[|\n]", text) if entry.strip())
    return {words.replace("_", " "): type_id for words, type_id in entries}


# Last words of a title that tell what it names. Two words come before one.
TITLE_HEADS = _table("""
River River109411430|Creek Brook109229409|Lake Lake109328904|Sea Sea109426788|Ocean Ocean109376198|Bay Bay109215664
Gulf Gulf109296121|Strait Strait109446115|Sound Sound109440186|Glacier Glacier109289331|Falls Waterfall109475292
Reservoir Reservoir104078747|Island Island109316454|Islands Archipelago109203827|Archipelago Archipelago109203827
Isthmus Isthmus109319604|Peninsula Peninsula109388848|Mountains Range109403734|Mountain_Range Range109403734
Mountain Mountain109359803|Desert Desert108505573|Valley Valley109468604|Plateau Tableland109453008|Cape Cape109233715
Plain Plain109393605|Plains Plain109393605|Forest Forest109284015|Formation GeologicalFormation109287968
County County108546870|Province State108654360|District District108552138|Territory Territory108493064
Borough Borough108540532|City City108524735|Republic Country108544813|Kingdom Kingdom108558155|Empire Empire108557482
Canyon Canyon109233446|Gorge Gorge109290444|Cave Cave109238926|Caves Cave109238926|Ridge Ridge109409512
Pass Pass109386842|Highlands Highland109302616|Volcano Volcano109472597|Trench Trench109461315|Delta Delta109264803
Beach Beach109217230|Galaxy Galaxy108271042|Harbor Seaport108639058|Harbour Seaport108639058|Township Township108672199
Prefecture Prefecture108626947|Refuge Reservation108587174|Reservation Reservation108587174|Reserve Reservation108587174
Basin Basin109215437|Coast Seashore109428293|Region Region108630039
Caliphate Country108544813|Khanate Country108544813|Principality Principality108558488|Emirate Emirate108557396
Sultanate Sultanate108896327

University University108286569|College College108278324|Royal_College Institution108053576
Institute Institute108407330|Academy Academy108280124
School School108276720|Museum Museum103800563|Library Library103660664|Observatory Observatory103839671
Laboratory Lab103629986|Hospital Hospital103540595|Theatre Theater104417809|Theater Theater104417809
Stadium Stadium104295881|Airport Airport102692232|Bridge Bridge102898711|Cathedral Cathedral102984061
Basilica Basilica102801184|Chapel Chapel103007130|Shrine Shrine104210390|Synagogue Synagogue104374735
Mausoleum Mausoleum103732114|Convent Convent103099454|Priory Priory104005197|Statue Statue104306847
Tunnel Tunnel104497962
Lighthouse Beacon102814860|Mine Mine103768346|Factory Factory103316406|Arena Stadium104295881
Telescope Telescope104403638
Speedway Racetrack104037625|Convention_Center Center102993546|Civic_Center Center102993546|Trade_Center Center102993546
Lunar_Module Spacecraft104264914
Service_Module Spacecraft104264914|Space_Station SpaceStation104266162|Gardens Garden103417345|Garden Garden103417345
Gallery Museum103800563
Air_Force_Base MilitaryInstallation103763133|Naval_Base MilitaryInstallation103763133
Conservatory Conservatory108287436|Seminary Seminary108284994|High_School SecondarySchool108284481
Medical_School MedicalSchool108283507|Abbey Abbey102667576|Palace Palace103877845|Castle Castle102980441
Temple Temple104407435|Mosque Mosque103788195
Monastery Monastery103781244|Memorial Memorial103743902|Monument Monument108600443|Tower Tower104460130
Prison Prison104005630|Hotel Hotel103542333|Dam Dam103160309|Canal Canal102947212|Highway Highway103519981
Road Road104096066|Trail Trail104466613|Railway Railway104048568|Railroad Railway104048568|Street Street104334599
Boulevard Street104334599|Avenue Avenue102763472|Square PublicSquare108619620|Cemetery Cemetery108521623
Building Building102913152|Hall Building102913152|Park Park108615374
National_Park NationalPark108600992

War War100973077|Wars War100973077|Civil_War CivilWar100962567|Battle Battle100953559|Battles Battle100953559
Siege Siege101075117|Revolution Revolution100962722|Agricultural_Revolution Revolution107424109
Neolithic_Revolution Revolution107424109|Green_Revolution Revolution107424109
Digital_Revolution Revolution107424109
Industrial_Revolution Revolution107424109|Scientific_Revolution Revolution107424109|Rebellion Rebellion100962129
Revolt Rebellion100962129|Uprising Rebellion100962129|Massacre Slaughter100223983|Expedition Expedition100968479
Championship Championship107457834|Championships Championship107457834|Tournament Tournament107464725
Masters Tournament107464725|Open Tournament107464725|Cup Tournament107464725|Games Contest107456188
Olympics Contest107456188|Charter Charter106471737|Pact WrittenAgreement106771653|Accords WrittenAgreement106771653
Agreement WrittenAgreement106771653|Ordinance Law106532330|Gospel Evangel106455138|Review Periodical106593296
Treaty Treaty106773434|Act Law106532330|Amendment Amendment106723635
Declaration Declaration106725877|Constitution FundamentalLaw106533648|Proclamation Announcement106746580
Award Award106696483|Awards Award106696483|Prize Award106696483|Medal Award106696483
Trophy Award106696483|Book Book106410904|Bible SacredText106429590|Report Report107218470
Dictionary Dictionary106418901|Times Newspaper106267145|Herald Newspaper106267145|Tribune Newspaper106267145
Gazette Newspaper106267145|Magazine Periodical106593296

Party Party108256968|Union Organization108008335|Association Association108049401|Football_League League108231184
Premier_League League108231184|Hockey_League HockeyLeague108232603
Baseball_League BaseballLeague108231874|Basketball_League BasketballLeague108232299|Soccer_League League108231184
League Association108049401
Alliance Alliance108293982|Federation Federation108303504|Confederation Federation108303504|Society Association108049401
Foundation Foundation108406486|Agency Agency108337324|Bureau Agency108337324|Committee Committee108324514
Commission AdministrativeUnit108077292|Council Council108310949|Board Board108322981|Department Department108114861
Ministry Ministry108114004|Court Court108329453|Senate Legislature108163273|Parliament Legislature108163273
States_Congress Legislature108163273|Continental_Congress Legislature108163273|Assembly Assembly108163792
House_of_Representatives Legislature108163273|Legislature Legislature108163273|Army Army108191230|Navy Navy108191701
Air_Force AirForce108196024|Armed_Forces Military108199025
Brigade Brigade108213978|Regiment Regiment108213817|Corps Corps108212527|Guard MilitaryUnit108198398
Police LawEnforcementAgency108348815|Gendarmerie LawEnforcementAgency108348815
Company Company108058098|Corporation Corporation108059412|Bank FinancialInstitution108054721
Airlines Airline102690081|Airways Airline102690081|Studios Company108058098|Press Company108058098
Free_Press Newspaper106267145|Opera_Company Company108187033
Theatre_Company Company108187033|Ballet_Company Company108187033|Government Government108050678
Pictures Company108058098|Records Company108058098|Motors Company108058098|Technologies Company108058098
Inc. Company108058098
Fund Organization108008335|Club Club108227214|Guild Club108227214|Institution Institution108053576|Fleet Fleet108292756
Squadron Squadron108219768|Battalion Battalion108214083|Infantry_Division Division108213205
Airborne_Division Division108213205|Armored_Division Division108213205|Panzer_Division Division108213205
Militia Militia108390511
Stock_Exchange StockExchange104323026|Administration Agency108337324|Authority Agency108337324
Orchestra Orchestra108248157|Church Church108082602|Movement Movement108464601|Liberation_Front Organization108008335
Popular_Front Organization108008335|Organization Organization108008335|Organisation Organization108008335
""")
# First words that do so, in titles of two or three words.
LEADING_HEADS = _table("Lake Lake109328904|Mount Mountain109359803|Cape Cape109233715|Fort Fortress103386011")
# People's ranks in a title: "Pope Pius IX"; "William Howe, 5th *Viscount* Howe"; "Philip II *of* Macedon".
LEADING_RANKS = _table("Pope Pope110453533|Emperor Emperor110053004|Empress Empress110053439|Sultan Sultan110674315")
RANKS = LEADING_RANKS | _table(
    "Duke Duke110038620|Duchess Duchess110038409|Earl Earl110041373|Marquess Marquis110295479|Viscount Noble110271677|"
    "Baron Baron109840520|Baroness Baroness109843309|Baronet Baronet109840639|Prince Prince110472799|"
    "Princess Princess110474064|King King110231515|Queen Queen110499355|Archbishop Archbishop109805151|Bishop Bishop109857200|"
    "Roman_Emperor Emperor110053004"
)
RANK_AFTER_COMMA = re.compile(r", (?:\d+(?:st|nd|rd|th) |Holy )?(" + "|".join(RANKS) + r")\b")
NUMBERED_RULER = re.compile(r"^[A-Z]\w+ [IVX]+ of [A-Z]")
RULER = "Sovereign110628644"
# "Battle *of* Damghan", "Academy Award *for* …": the head stands before these.
AFTER_TITLE_HEAD = re.compile(r",| (?:of|for|in|at|to|on|against)\b")
# Titles whose head is another word: "Rock and Roll Hall of Fame", "Beyond the Valley of the Dolls", "The Battle of Algiers" (a film).
NO_TITLE_HEAD = re.compile(r"\bHall of |^\w+ the |^The \w+ of ")
ACT = re.compile(r"\bAct(?: of)?(?: \d{4})?$")  # "Government of India Act 1935"
LAW = "Law106532330"
# Titles of what bears no name of its own: "Bachelor of Arts", "History of Angola".
NO_NAME = re.compile(
    r"^(?:Associate|Bachelor|Master|Doctor|Culture|Demographics|Economy|Education|Foreign relations|Geography|History|Index|List|Music"
    r"|Outline|Politics|Religion) (?:of|in) "
)

# What a bracket after a title says that the title names: "Time (magazine)".
QUALIFIERS = _table("""
film Movie106613686|movie Movie106613686|novel Book106410904|novella Book106410904|book Book106410904
opera Opera107026352|magazine Periodical106593296|newspaper Newspaper106267145|journal Journal106597466
album Album106591815|song Song107048000|poem Poem106377442|painting Painting103876519|band MusicalOrganization108246613
company Company108058098|airline Airline102690081|organization Organization108008335|crater LunarCrater109344324
moon Satellite109424270|planet Planet109394007|state State108654360|province State108654360|country Country108544813
village Village108672738|town Town108665504|city City108524735|river River109411430|island Island109316454
satellite Satellite104137444|spacecraft Spacecraft104264914|ship Ship104194289|god Deity109505418
goddess Deity109505418|deity Deity109505418|character FictionalCharacter109587565
""")

# Last words of a bracket after which the title's own words say nothing: "Robot Wars (TV series)".
WORKS = word_set(
    "anime channel comics EP episode franchise game manga musical opera play program programme series show soundtrack"
)

# Heads of categories that say something about an article, but not what it is: a prize has people, films and firms as its winners,
SAYS_LITTLE = word_set(
    "appearance article artist basin beginning birth body border broadcaster burial case centenary champion child "
    "class commemoration companion competitor death disestablishment end ending establishment event family fan "
    "finalist formation genus guard guest head honoree inductee introduction item lead list medalist medallist member "
    "nominee opponent order owner page participant partner pioneer portal prop protagonist recipient redirect request "
    "seat standard stub subject subsidiary survivor symbol target term theme topic user victim winger winner work "
    "zone"
) | {"prize winner", "title character"}
# … and heads that are true of so many people that they tell nothing else a text would show, or whose usual sense is another one.
SAYS_PERSON = word_set(
    "adoptee advocate agnostic alumnus atheist autobiographer back brat centenarian citizen commander commentator "
    "contestant convert critic dame daughter defender deist disciple dissident emigrant exile expatriate fellow founder friend "
    "fullback graduate hooker host humanist immigrant knight laureate liberal man materialist narrator officer "
    "pantheist people performer person practitioner presenter punter rector refugee rival scholar scout sibling "
    "skeptic socialite son spokesperson supporter twin vegan vegetarian veteran wife woman worker"
) | {"bisexual person", "blind person", "stateless person"}
MAINTENANCE = re.compile(
    r"^(?:All |Wikipedia|Articles?\b|Pages |Use |Good articles|Featured|CS1|Commons|Webarchive|Redirects)"
    r"|\bstubs?$|\barticles?\b|\b[Mm]ember states\b"
)
# Categories that only people have.
PEOPLE_ONLY = re.compile(
    r"^\d+s?(?: BC)? (?:births|deaths)$|^(?:Living|Possibly living) people$|century (?:births|deaths)$"
)

# First words of people's names that other things begin with as well: "Great Depression", "Queen Street", "Virginia Tech".
NO_GIVEN_NAMES = word_set(
    "1st Admiral Al Apostle Baron Baroness Big Bishop Black Captain Cardinal Charlotte Chester Chevalier Christian "
    "Commodore Comte Count Czar Dame De Duc Duchess Duke Earl El Emperor Father Fats First Fourth General Gentleman "
    "Grace Great Holbein Holy Innocent Iron Israel Judas Jupiter King La Lady Le Little Lord Madame Marquis Marquise "
    "Marshal Melville Mother Old Pearl Pitt President Prince Princess Queen Robinson Saint Santa Second Shah Sir "
    "Strauss Sun The Uncle Urban Van Vicomte Virginia Viscount da de du le the van von"
)
# What stands after a given name: words with a capital, and small ones between it and a surname.
NAME_WORD = re.compile(r"(?:[dl]['’])?(?=[^a-z])[^\W\d_](?:[\w'’.-]*\w|\.)?")  # "d'Alembert", "M.", "Jean-Paul"
PARTICLES = word_set("al bin d da das de del della der di do dos du el ibn la le of ten ter the van von zu")
# The first sentence of an article: "Subject is a noun phrase …".
IN_BRACKETS = re.compile(r"\s*\([^()]*\)|\s*\[[^\[\]]*\]")
DEFINITION = re.compile(
    r"(?:(?! (?:is|was|are|were|has|had|have) ).){1,150} (?:is|was|are|were)(?: (?:also|currently|formerly|now|originally|today))?"
    r" (?:an?|the|one of the|any of the|(?=[a-z]+s ))\s*(?P<phrase>.+)",
    re.DOTALL,
)
AFTER_LEAD = word_set(
    "about across along among and as at based best between born but by competing currently developed during "
    "established for founded from held in inside into is known led located made near of off on or out outside over "
    "owned played playing run serving set since situated spoken that through to under used using was when where which "
    "who whose with within won working written"
)
SAYS_LITTLE_IN_LEADS = word_set(
    "adult application artist base body branch center centre chain channel class collection combination community "
    "concept design discipline element end example family form genus group head host idea instance kind law line list "
    "mechanism member method name network number object operator order page pair part piece place playing process "
    "program programme project receiver round section series set side species star style subject substance system "
    "team term theory title type unit variety version way word"
)
# Classes of a place that other places are districts of.
CITIES = ("Municipality108626283", "Borough108540532", "Capital108518505", "City108540903")

# Words that a name may hold in lower case.
LOWER_IN_NAMES = word_set(
    "a al an and at bin d da das de del della der des di do dos du e el et for ibn in la le of on or the to v van von vs with y "
    "zu"
)
