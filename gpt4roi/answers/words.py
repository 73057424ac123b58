"""Everyday words in German, Spanish, French and Chinese, for questions that are not in English.

A line: English = German | Spanish | French | Chinese; several forms are separated by a comma, the first is the one that replies use.
"""

from __future__ import annotations

from functools import cache

LANGUAGES = ("de", "es", "fr", "zh")
# What questions are made of. The English side is written as the patterns of `questions` read it.
FUNCTION = """
what is = was ist | qué es, que es | qu'est-ce que c'est, qu'est ce que c'est, c'est quoi, qu'est-ce que, quel est, quelle est | 是什么, 什么是
what = was | qué, que | quoi, que | 什么
which = welches, welche, welcher, welchen, was für ein, was für eine | cuál, cual, qué tipo de, qué clase de | quel, quelle, quels, quelles | 哪个, 哪种, 什么样的
how many = wie viele, wieviele, wie viel | cuántas, cuántos, cuantas, cuantos, cuánta gente | combien de, combien d', combien | 有多少, 多少只, 多少个, 多少, 几只, 几个, 几匹, 几头, 几辆, 几条
where is = wo ist, wo sind, wo steht, wo liegt, wo befindet sich | dónde está, dónde están, donde está, donde esta, dónde hay | où est, où sont, où se trouve, ou est | 在哪里, 在哪儿, 在哪
is there = gibt es, gibt's, sieht man, siehst du, ist da, sind da | hay, se ve, se ven, ves | y a-t-il, y a t il, est-ce qu'il y a, il y a, vois-tu, voit-on | 有没有, 有, 看见
is it = ist es, ist das, ist dies, sind das | es, es esto, es eso, ¿es, son | est-ce, est-ce que c'est, c'est, est-ce une, est-ce un | 是不是, 这是, 是
what color is = welche farbe hat, welche farbe haben, welche farbe ist | de qué color es, de que color es, qué color tiene, de qué color son, de qué color | de quelle couleur est, de quelle couleur sont, quelle est la couleur de, de quelle couleur | 什么颜色的, 什么颜色, 颜色
describe = beschreibe, beschreib, was siehst du, was sieht man, was ist zu sehen | describe, qué se ve, qué ves, qué hay | décris, décrivez, qu'est-ce qu'on voit, que voit-on, que vois-tu | 描述, 看到什么, 有什么
find = finde, zeig mir, zeige, such, suche, markiere | encuentra, busca, muéstrame, señala, marca | trouve, montre-moi, montre, cherche, marque | 找到, 找出, 找, 标出
read = lies, was steht, lesen | lee, qué dice, qué pone | lis, que dit, qu'est-ce qui est écrit | 读, 写着什么
is = ist, sind | está, están | est, sont | 是
this = das, dies, dieses, diese, dieser, den, dem | esto, eso, este, esta, ese, esa | ça, ceci, cela, ce, cette, cet | 这个, 这, 那个, 那
here = hier, da | aquí, ahí | ici, là | 这里, 那里
in = in, im, auf, auf dem, auf der, am | en, sobre | dans, sur, en | 里, 上, 中
or = oder | o | ou | 还是, 或者
and = und | y, e | et | 和
the = der, die, ein, eine, einen, einem, einer | el, la, los, las, un, una, unos, unas, al, del | le, la, les, un, une, des, du, l' | 只, 个, 张, 条, 匹, 辆, 把, 的, 一
picture = bild, foto | imagen, foto, fotografía | image, photo, photographie | 图片, 图, 照片, 画面
left of = links von, links neben | a la izquierda de, a la izquierda del | à gauche de, à gauche du | 左边
right of = rechts von, rechts neben | a la derecha de, a la derecha del | à droite de, à droite du | 右边
bigger = größer, grösser, größte | más grande, mayor | plus grand, plus grande | 更大, 最大
smaller = kleiner | más pequeño, más pequeña, menor | plus petit, plus petite | 更小, 最小
blur = verwische, weichzeichne | difumina, desenfoca | floute, flouter | 虚化
blurry = unscharf, verschwommen | borroso, borrosa | flou, floue | 模糊
pixelate = verpixel, verpixele | pixela, pixeliza | pixelise | 打马赛克
remove = entferne, lösche, nimm | quita, elimina, borra | enlève, supprime, efface | 去掉, 删除, 移除, 去除
paint = färbe, male, streiche | pinta, colorea | colorie, peins, peindre | 涂成, 把
make = mach, mache | haz, pon | rends, mets, fais | 变成, 改成
cut out = schneide | recorta | découpe | 抠出, 抠图
count = zähle, zähl | cuenta | compte, comptez | 数一数, 数
highlight = hebe hervor | resalta, destaca | surligne, mets en évidence | 突出
outline = umrande | contornea, delinea | entoure | 勾勒
all = alle, alles | todos los, todas las, todo, todos, todas | tous les, toutes les, tout, tous | 所有的, 所有, 全部
biggest = größte, größten, größtes | más grande | le plus grand, la plus grande | 最大的
smallest = kleinste, kleinsten | más pequeño | le plus petit, la plus petite | 最小的
middle = mittlere, mittleren, in der mitte | del medio, del centro | du milieu | 中间的
leftmost = linke, linken, linkeste | de la izquierda | de gauche | 最左边的
rightmost = rechte, rechten, rechteste | de la derecha | de droite | 最右边的
background = hintergrund | fondo | arrière-plan, fond | 背景
hello = hallo, guten tag, moin | hola, buenos días | bonjour, salut | 你好
thanks = danke | gracias | merci | 谢谢
"""
NOUNS = """
person = Person, Personen, Mensch, Menschen, Leute, Jemand, Mann, Männer, Frau, Frauen, Kind, Kinder, Junge, Mädchen | persona, personas, gente, alguien, hombre, mujer, niño, niños, niña | personne, personnes, gens, quelqu'un, homme, femme, enfant, enfants, garçon, fille | 人, 男人, 女人, 孩子
animal = Tier, Tiere | animal, animales | animal, animaux | 动物
dog = Hund, Hunde, Hunden | perro, perros, perra | chien, chiens | 狗
cat = Katze, Katzen | gato, gatos, gata | chat, chats | 猫
pumpkin = Kürbis, Kürbisse | calabaza, calabazas | citrouille, citrouilles | 南瓜
candle = Kerze, Kerzen | vela, velas | bougie, bougies | 蜡烛
pillow = Kissen | almohada, cojín, cojines | oreiller, coussin, coussins | 枕头, 抱枕
face = Gesicht, Gesichter | cara, caras, rostro | visage, visages | 脸
sign = Schild, Schilder | cartel, señal | panneau, panneaux | 牌子, 标志
horse = Pferd, Pferde | caballo, caballos | cheval, chevaux | 马
cow = Kuh, Kühe | vaca, vacas | vache, vaches | 牛, 奶牛
sheep = Schaf, Schafe | oveja, ovejas | mouton, moutons | 羊, 绵羊
bird = Vogel, Vögel | pájaro, pájaros, ave, aves | oiseau, oiseaux | 鸟
elephant = Elefant, Elefanten | elefante, elefantes | éléphant, éléphants | 大象, 象
zebra = Zebra, Zebras | cebra, cebras | zèbre, zèbres | 斑马
giraffe = Giraffe, Giraffen | jirafa, jirafas | girafe, girafes | 长颈鹿
bear = Bär, Bären | oso, osos | ours | 熊
tiger = Tiger | tigre, tigres | tigre, tigres | 老虎
lion = Löwe, Löwen | león, leones | lion, lions | 狮子
monkey = Affe, Affen | mono, monos | singe, singes | 猴子
turtle = Schildkröte, Schildkröten | tortuga, tortugas | tortue, tortues | 乌龟, 海龟
fish = Fisch, Fische | pez, peces, pescado | poisson, poissons | 鱼
butterfly = Schmetterling, Schmetterlinge | mariposa, mariposas | papillon, papillons | 蝴蝶
car = Auto, Autos, Wagen | coche, coches, carro, auto | voiture, voitures | 汽车, 车
bus = Bus, Busse | autobús, autobuses | bus, autobus | 公交车, 巴士
truck = Lastwagen, LKW, Laster | camión, camiones | camion, camions | 卡车
train = Zug, Züge | tren, trenes | train, trains | 火车
bicycle = Fahrrad, Fahrräder | bicicleta, bicicletas, bici | vélo, vélos, bicyclette | 自行车
motorcycle = Motorrad, Motorräder | moto, motos, motocicleta | moto, motos | 摩托车
airplane = Flugzeug, Flugzeuge | avión, aviones | avion, avions | 飞机
boat = Boot, Boote, Schiff, Schiffe | barco, barcos, bote | bateau, bateaux | 船
vehicle = Fahrzeug, Fahrzeuge | vehículo, vehículos | véhicule, véhicules | 车辆
traffic light = Ampel, Ampeln | semáforo, semáforos | feu rouge, feu tricolore | 红绿灯
bench = Bank, Bänke | banco, bancos | banc, bancs | 长椅
chair = Stuhl, Stühle | silla, sillas | chaise, chaises | 椅子
table = Tisch, Tische | mesa, mesas | table, tables | 桌子
couch = Sofa, Couch | sofá, sofás | canapé, canapés | 沙发
bed = Bett, Betten | cama, camas | lit, lits | 床
window = Fenster | ventana, ventanas | fenêtre, fenêtres | 窗户, 窗
door = Tür, Türen | puerta, puertas | porte, portes | 门
lamp = Lampe, Lampen | lámpara, lámparas | lampe, lampes | 灯
book = Buch, Bücher | libro, libros | livre, livres | 书
bottle = Flasche, Flaschen | botella, botellas | bouteille, bouteilles | 瓶子
cup = Tasse, Tassen, Becher | taza, tazas | tasse, tasses | 杯子
wine glass = Weinglas, Weingläser, Glas, Gläser | copa, copas, vaso | verre, verres | 酒杯, 玻璃杯
bowl = Schüssel, Schüsseln, Schale | tazón, cuenco, cuencos | bol, bols | 碗
plate = Teller | plato, platos | assiette, assiettes | 盘子
knife = Messer | cuchillo, cuchillos | couteau, couteaux | 刀
fork = Gabel, Gabeln | tenedor, tenedores | fourchette, fourchettes | 叉子
spoon = Löffel | cuchara, cucharas | cuillère, cuillères | 勺子
apple = Apfel, Äpfel | manzana, manzanas | pomme, pommes | 苹果
banana = Banane, Bananen | plátano, plátanos, banana | banane, bananes | 香蕉
orange = Orange, Orangen, Apfelsine | naranja, naranjas | orange, oranges | 橙子
tomato = Tomate, Tomaten | tomate, tomates | tomate, tomates | 西红柿
carrot = Karotte, Karotten, Möhre | zanahoria, zanahorias | carotte, carottes | 胡萝卜
fruit = Obst, Frucht, Früchte | fruta, frutas | fruit, fruits | 水果
vegetable = Gemüse | verdura, verduras | légume, légumes | 蔬菜
pizza = Pizza, Pizzen | pizza, pizzas | pizza, pizzas | 披萨
cake = Kuchen, Torte | pastel, tarta, pasteles | gâteau, gâteaux | 蛋糕
sandwich = Sandwich | bocadillo, sándwich | sandwich, sandwichs | 三明治
food = Essen, Speise | comida, alimento | nourriture, aliment | 食物
phone = Handy, Telefon | móvil, teléfono, celular | téléphone, portable | 手机
laptop = Laptop, Notebook | portátil, ordenador portátil | ordinateur portable | 笔记本电脑, 电脑
tv = Fernseher | televisor, televisión | télé, télévision, téléviseur | 电视
keyboard = Tastatur | teclado | clavier | 键盘
clock = Uhr, Uhren | reloj, relojes | horloge, horloges | 钟
umbrella = Regenschirm, Schirm, Schirme | paraguas | parapluie, parapluies | 雨伞, 伞
bag = Tasche, Taschen | bolso, bolsa, bolsas | sac, sacs | 包
backpack = Rucksack, Rucksäcke | mochila, mochilas | sac à dos | 背包
hat = Hut, Hüte, Mütze | sombrero, gorra | chapeau, casquette | 帽子
ball = Ball, Bälle | pelota, pelotas, balón | balle, ballon | 球
balloon = Ballon, Ballons, Luftballon | globo, globos | ballon de baudruche | 气球
kite = Drachen | cometa, cometas | cerf-volant | 风筝
skateboard = Skateboard | monopatín | skateboard | 滑板
tree = Baum, Bäume | árbol, árboles | arbre, arbres | 树
flower = Blume, Blumen | flor, flores | fleur, fleurs | 花
plant = Pflanze, Pflanzen | planta, plantas | plante, plantes | 植物
house = Haus, Häuser | casa, casas | maison, maisons | 房子
tool = Werkzeug, Werkzeuge | herramienta, herramientas | outil, outils | 工具
hammer = Hammer | martillo | marteau | 锤子
scissors = Schere | tijeras | ciseaux | 剪刀
toy = Spielzeug | juguete, juguetes | jouet, jouets | 玩具
teddy bear = Teddybär, Teddy | osito de peluche, peluche | ours en peluche, nounours | 泰迪熊
remote = Fernbedienung | mando, control remoto | télécommande | 遥控器
toilet = Toilette, Klo | inodoro, váter | toilettes, toilette | 马桶
sink = Waschbecken, Spüle | lavabo, fregadero | évier, lavabo | 水槽
red = rot, rote, roten, roter | rojo, roja, rojos | rouge, rouges | 红色, 红
blue = blau, blaue, blauen | azul, azules | bleu, bleue | 蓝色, 蓝
green = grün, grüne, grünen | verde, verdes | vert, verte | 绿色, 绿
yellow = gelb, gelbe, gelben | amarillo, amarilla | jaune, jaunes | 黄色, 黄
black = schwarz, schwarze, schwarzen | negro, negra | noir, noire | 黑色, 黑
white = weiß, weiss, weiße, weißen | blanco, blanca | blanc, blanche | 白色, 白
brown = braun, braune | marrón | brun, marron | 棕色
gray = grau, graue | gris | gris, grise | 灰色
pink = rosa | rosa | rose | 粉色
purple = lila, violett | morado, morada, violeta | violet, violette | 紫色
"""


@cache
def table(kind: str) -> dict[str, dict[str, str]]:
    """For each language: its words in lower case to English. `kind`: `function` or `noun`."""
    found: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    for line in (FUNCTION if kind == "function" else NOUNS).strip().splitlines():
        english, _, rest = line.partition(" = ")
        for language, forms in zip(LANGUAGES, rest.split(" | "), strict=True):
            for form in forms.split(", "):
                found[language].setdefault(form.strip().lower(), english)
    return found


@cache
def spoken(language: str) -> dict[str, tuple[str, str]]:
    """English noun or color to its word in another language: in singular and, where the table has one, in plural."""
    found = {}
    for line in NOUNS.strip().splitlines():
        english, _, rest = line.partition(" = ")
        forms = rest.split(" | ")[LANGUAGES.index(language)].split(", ")
        found[english] = (forms[0], forms[1] if len(forms) > 1 else forms[0])
    return found
