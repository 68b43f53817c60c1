"""Scraped pages of twelve invented sites. Lines that begin with "~" are the site's, the others the article's."""

import pytest

from common.sentences import sentences
from functions.summarize.condense import condense

PAGES = {
    "broadsheet": """
~Today's paper
~UK | Politics | Money | Culture | Travel
The harbour board of Whitrick has approved a £22m plan to raise its sea wall by two metres before the winter of 2027.
~Advertisement
The wall was overtopped four times last year, and 140 homes on Quay Street were flooded in December. Board chair Lena Orme said that repairs alone had cost £3m.
~Orme, pictured, at the wall. Photograph: Gil Storey/The Chronicler
Half of the money comes from the government and the rest from a levy on moorings. Boat owners called the levy unfair.
~Read more: Seven walks for a stormy day
Work will begin in April and close the fish market for five months, the board said.
~Sign up to The Tide, our free weekly newsletter
""",
    "tabloid": """
~BREAKING
~SHARE
~COMMENTS 112
A bus driver who steered 31 schoolchildren to safety after his brakes failed is to receive a medal. Colin Abbot, 58, ran the bus into a hedge near Thornley last May.
~DON'T MISS: Britain's ten grottiest beaches revealed
~Win a family break in Majorca! Enter here
No child was badly hurt. An inquiry found that the depot had not replaced a worn brake line for eleven months.
~Click to follow us on Instagram
The firm, Swiftways, was fined £90,000 on Friday and has apologised to parents.
~Get all the gossip straight to your phone
""",
    "agency": """
~July 9, 2025 4:41 PM GMT+2 · Updated 2 hours ago
OSLO - Fish farmer Havlund will cut 600 jobs and close two plants after sea lice killed a tenth of its salmon.
~A worker walks past a tank at a Havlund plant in Bodo. Picture Alliance/Jan Moen
The company said the closures would save 410 million crowns a year. Shares fell 8%.
Chief executive Siri Dale said prices would not recover before 2027, and unions asked the government for help.
~Reporting by Petra Lind in Oslo and Omar Said in London; Editing by Ruth Vane
~Purchase licensing rights
""",
    "nigerian daily": """
~Home » News » Metro
~By Our Reporter
The Senate on Thursday passed a bill that sets up a commission for the care of rivers in the Middle Belt. The commission will have an office in Lokoja and a budget of N14bn.
~READ ALSO: See list of states with highest fuel price
Senator Ajoke Bamidele, who sponsored the bill, said dredging had been neglected for two decades. Fishermen in Kogi welcomed the vote.
~Kindly share this story
The House of Representatives will consider the bill in September.
~Copyright The Daily Beacon. All rights reserved.
""",
    "american local": """
~SUBSCRIBE NOW $1 for 6 months
~NEWS
The Marlow County school board voted 5-2 on Monday to close Pine Hill Elementary, which has 96 pupils and needs a $4.1 million roof.
~Your ad blocker is on
Parents who filled the gymnasium booed the vote. Superintendent Gail Rusk said pupils will move to Lakeview in August and that no teachers will lose their jobs.
~Gail Rusk (Courtesy photo)
Board member Dan Ochoa voted against it, saying the county had not looked for grants.
~Have a news tip? Contact reporter Amy Stole at astole@marlowpost.example
~More in Education
""",
    "magazine": """
~CULTURE
~Subscribe
~Save this story
For nineteen years the pianist Ilse Rademaker refused to record. This week the label Noordzee announced that she will release all thirty-two Beethoven sonatas, taped in secret in a church near Delft.
~Listen to this story
The sessions took place at night between 2021 and 2024, with one microphone. Rademaker, who is 81, agreed on the condition that nothing be edited.
~Most Popular
The first of nine discs appears on October 3. Critics who heard it spoke of wrong notes and of wonder.
~Get the best of our culture coverage in your inbox every Friday.
""",
    "tech blog": """
~Reviews Deals Podcasts Newsletters
~Join 40,000 readers
The browser maker Pellucid has patched a flaw that let web pages read the passwords of 3 million users. The hole was found in June by a student in Tartu, who was paid $12,000.
~If you buy through our links, we may earn a commission.
Pellucid said it had seen no attacks. Version 14.2 installs itself, but users of Linux must update by hand.
~Related: The best password managers of the year
~Comments powered by Chatterbox
Regulators in Ireland have asked why the firm needed 41 days.
""",
    "cookie wall": """
~We value your privacy
~We and our 842 partners store cookies on your device to personalise ads and content.
~Reject all
~Accept
Voters in the canton of Rhoden rejected a ban on new ski lifts by 54% to 46% on Sunday. The result surprised the glacier group that had gathered the signatures.
Three resorts may now build eleven lifts worth 230 million francs. Turnout was 61%, the highest since 1992.
~Manage my choices
Group leader Beat Inauen said he would go to the federal court.
""",
    "sports site": """
~Scores | Fixtures | Tables | Transfers
~Play now: pick your fantasy team
Striker Amadou Keita scored twice as Belmont beat Ryde 3-1 to reach the semi-finals of the League Trophy. Keita, back after nine months with a torn knee ligament, struck in the 12th and 70th minutes.
~18+ Gamble responsibly
Ryde had Joe Finch sent off before half-time and lost their captain to injury. Belmont meet Corley on March 2.
~WATCH: Best goals of the weekend
~Follow live text commentary in our app
""",
    "science portal": """
~Skip to main content
~Cite this article
~Facebook X LinkedIn Reddit
Bats that lose their hearing with age learn to find their way by smell, a study of 64 animals in Brno has found. The old bats took twice as long, but they missed only 6% of the fruit.
~Image credit: Jana Kosova, CC BY 4.0
Zoologist Marek Havel said that the brain's map of smells grew by a fifth within months. The work may explain why bats live up to forty years.
~Subscribe to our weekly digest
~You might be interested in
""",
    "broadcaster": """
~iPlayer Sounds Weather
~Media caption, Residents describe the moment the slope gave way
A landslide has cut off the village of Glen Ardle and its 210 people after a week of rain. Engineers say the only road will stay shut for a month.
~Image source, Highland Council
Helicopters have brought food and taken nine patients to hospital in Oban. No one was killed. The council will build a track through the forest by Thursday.
~Related topics
~Around the web
~Sign in to comment
""",
    "indian daily": """
~E-Paper
~TRENDING: Monsoon | Cricket | Results
~Written by Staff Reporter | Updated: June 14, 2025 09:12 IST
The Karvi Metro will run all night on weekends from July 5, its managing director R. Sulochana said on Friday. Trains will come every 20 minutes and fares after midnight will double.
~Also read | Five breakfast places near the new metro stations
The trial costs Rs 9 crore and ends in December. Women's groups had asked for night trains since 2022.
~For the latest news, download our app
Taxi drivers plan a strike on July 4.
~Disclaimer: readers are advised to verify claims.
""",
}


def count(text: str) -> int:
    return round(len(text) / 4.3)


def page(name: str) -> tuple[str, set[str]]:
    """The text of a page, and the sentences that are the site's."""
    lines = PAGES[name].strip().splitlines()
    of_site = {piece.strip() for line in lines if line.startswith("~") for piece in sentences(line[1:])}
    return "\n\n".join(line.removeprefix("~") for line in lines), of_site


@pytest.mark.parametrize("budget", [60, 100, 200])
@pytest.mark.parametrize("name", PAGES)
def test_what_a_site_puts_around_an_article_is_not_read_to_the_model(name: str, budget: int) -> None:
    text, of_site = page(name)
    kept = [piece.strip() for piece in sentences(condense(text, min(budget, count(text) - 1), count))]
    assert kept
    assert not of_site.intersection(kept)


def test_a_page_of_nothing_but_menus_still_gives_something() -> None:
    assert condense("Home | News | Sport\n\nSign in\n\nSubscribe now!\n\n" * 3, 8, count)
